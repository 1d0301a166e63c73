#include "router/lease_renewer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <vector>

namespace baton::router {
namespace {

constexpr absl::Duration kRenewTimeout = absl::Seconds(2);
constexpr absl::Duration kShortestInterval = absl::Milliseconds(50);

}  // namespace

LeaseRenewer::LeaseRenewer(boost::asio::io_context& loop, absl::Duration interval)
    : timer_(loop), interval_(interval), shortest_(interval) {}

void LeaseRenewer::Start() {
  boost::asio::post(timer_.get_executor(), [self = shared_from_this()] { self->Schedule(); });
}

void LeaseRenewer::Stop() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    leases_.clear();
  }
  boost::asio::post(timer_.get_executor(), [self = shared_from_this()] { self->timer_.cancel(); });
}

void LeaseRenewer::Schedule() {
  absl::Duration next;
  {
    MutexLock lock(mutex_);
    if (stopped_) return;
    next = shortest_;
  }
  timer_.expires_after(absl::ToChronoMilliseconds(next));
  timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error) {
      // Moved to an earlier time, or stopped; Schedule finds out which.
      self->Schedule();
      return;
    }
    self->RenewAll();
    self->Schedule();
  });
}

void LeaseRenewer::RenewAll() {
  std::vector<std::pair<std::shared_ptr<NodeClient>, std::vector<std::string>>> batches;
  {
    MutexLock lock(mutex_);
    if (leases_.empty()) shortest_ = interval_;
    for (const auto& [node, ids] : leases_) {
      batches.emplace_back(node, std::vector<std::string>(ids.begin(), ids.end()));
    }
  }
  for (const auto& [node, ids] : batches) {
    // A lease that is not known any more ends its Generate call, which tells the flow.
    node->Renew(ids, kRenewTimeout, [](const absl::Status& status, const v1::RenewReply&) {
      if (!status.ok()) spdlog::warn("renewing leases: {}", std::string(status.message()));
    });
  }
}

void LeaseRenewer::Add(const std::shared_ptr<NodeClient>& node, const std::string& ticket_id,
                       absl::Duration lease_timeout) {
  bool sooner = false;
  {
    MutexLock lock(mutex_);
    if (stopped_) return;
    leases_[node].insert(ticket_id);
    const absl::Duration needed = std::max(lease_timeout / 3, kShortestInterval);
    if (lease_timeout > absl::ZeroDuration() && needed < shortest_) {
      shortest_ = needed;
      sooner = true;
    }
  }
  if (!sooner) return;
  boost::asio::post(timer_.get_executor(), [self = shared_from_this()] { self->timer_.cancel(); });
}

void LeaseRenewer::Remove(const std::shared_ptr<NodeClient>& node, const std::string& ticket_id) {
  MutexLock lock(mutex_);
  const auto it = leases_.find(node);
  if (it == leases_.end()) return;
  it->second.erase(ticket_id);
  if (it->second.empty()) leases_.erase(it);
}

}  // namespace baton::router
