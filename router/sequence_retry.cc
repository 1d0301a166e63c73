// SequenceFlow: whether, when and where it goes on after a failure.
//
// At most `retries` + 1 calls are made for a sequence without a token between them, and all
// sequences together make about a tenth more calls than they need (RetryBudget). Who has a call
// left, but no node or no budget for it, waits.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "router/sequence_flow.h"

namespace baton::router {
namespace {

// Between two looks at the cluster while a sequence waits for a node; no node is called by that.
constexpr absl::Duration kLook = absl::Milliseconds(50);
// A node that failed may do it again after this time: long enough for one that died to be missed.
constexpr absl::Duration kSecondChance = absl::Seconds(1);

bool IsRegistered(const ClusterSnapshot& cluster, const std::shared_ptr<NodeClient>& client) {
  const auto has = [&](const auto& nodes) {
    return std::any_of(nodes.begin(), nodes.end(),
                       [&](const auto& node) { return node->client == client; });
  };
  return has(cluster.prefill) || has(cluster.decode);
}

}  // namespace

bool SequenceFlow::MayRetry(const absl::Status& status, const std::shared_ptr<NodeClient>& failed) {
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    saw_full_ = true;
    return true;
  }
  if (status.code() == absl::StatusCode::kInvalidArgument) return false;
  if (router_.clock.Now() >= spec_.deadline) return false;
  if (output_.size() > output_at_failure_) {
    failures_in_a_row_ = 0;
    waiting_since_ = absl::InfiniteFuture();
  }
  output_at_failure_ = output_.size();
  last_failure_ = router_.clock.Now();
  failed_ = failed;
  ++retries_;
  return ++failures_in_a_row_ <= router_.config.retries();
}

void SequenceFlow::NotePrefillFailure(const absl::Status& status) {
  const absl::Time now = router_.clock.Now();
  if (now >= spec_.deadline || (status.code() != absl::StatusCode::kUnavailable &&
                                status.code() != absl::StatusCode::kDeadlineExceeded)) {
    return;
  }
  // A node that hands over may itself be fine, and cut off from the decode node.
  if (TokensLeft() > 1) {
    prefill_node_->client->HandOverFailed(decode_node_->hello.incarnation(), now);
  } else {
    prefill_node_->client->CallFailed(now);
  }
}

bool SequenceFlow::HasBudget(const ClusterSnapshot& cluster) {
  if (failed_ == nullptr) return true;
  // Sequences of a node that is gone must move: that is no storm.
  if (IsRegistered(cluster, failed_) && !router_.retry_budget.Take()) return false;
  failed_ = nullptr;
  return true;
}

bool SequenceFlow::WaitForNodes(const ClusterSnapshot& cluster) {
  // Who has neither begun nor lost a node learns at once that there is none.
  const bool lost_a_node = last_error_.has_value() && (!saw_full_ || !output_.empty());
  if (!lost_a_node || cluster.ended) return false;
  const absl::Time now = router_.clock.Now();
  waiting_since_ = std::min(waiting_since_, now);
  const absl::Duration limit = absl::Milliseconds(router_.config.failover_wait_ms());
  if (now - waiting_since_ >= limit || now >= spec_.deadline) return false;
  if (now - last_failure_ >= kSecondChance) tried_.clear();
  retry_timer_.expires_after(absl::ToChronoMilliseconds(kLook));
  retry_timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && !self->ended_) self->Attempt();
  });
  return true;
}

void SequenceFlow::FailForLackOfNodes(const ClusterSnapshot& cluster, absl::string_view role) {
  if (WaitForNodes(cluster)) return;
  // Copies: what is there already says more than "nobody is left".
  if (saw_full_ && output_.empty())
    return Fail(Full(absl::StrCat("Every ", role, " is full.")), true);
  if (last_error_) return Fail(*last_error_);
  const std::string missing = cluster.Missing(router_.NeedsPrefillNodes());
  if (!missing.empty()) return Fail(NotReady(missing));
  Fail(InvalidParam("prompt",
                    absl::StrCat("The prompt has ", spec_.prompt->size(), " tokens; no ", role,
                                 " of this cluster has room for as many."),
                    "context_length_exceeded"));
}

}  // namespace baton::router
