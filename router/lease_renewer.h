// Keeps the leases of requests alive whose prompts are still queued or computed: one message per
// decode node and interval.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "router/event_loops.h"
#include "router/node_client.h"

namespace baton::router {

// Thread-safe. Must outlive its leases.
class LeaseRenewer : public std::enable_shared_from_this<LeaseRenewer> {
 public:
  LeaseRenewer(boost::asio::io_context& loop, absl::Duration interval);

  // Starts the timer; call once.
  void Start();
  void Stop();

  // Renews until Remove. A lease shorter than three intervals is renewed more often:
  // `lease_timeout` / 3.
  void Add(const std::shared_ptr<NodeClient>& node, const std::string& ticket_id,
           absl::Duration lease_timeout) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::shared_ptr<NodeClient>& node, const std::string& ticket_id)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Schedule();
  void RenewAll() ABSL_LOCKS_EXCLUDED(mutex_);

  boost::asio::steady_timer timer_;
  const absl::Duration interval_;
  Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration shortest_ ABSL_GUARDED_BY(mutex_);  // time between two renewals
  std::map<std::shared_ptr<NodeClient>, std::set<std::string>> leases_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::router
