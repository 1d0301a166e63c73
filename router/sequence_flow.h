// One answer end to end: pick a pair of nodes, reserve on the decode node, prefill, hand over,
// tokens, text.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "router/generation.h"
#include "router/router_context.h"
#include "router/scheduler.h"
#include "router/text_stream.h"

namespace baton::router {

struct Candidates;

// What one sequence is to be.
struct SequenceSpec {
  std::string request_id;
  int32_t choice = 0;
  std::shared_ptr<const std::vector<int32_t>> prompt;
  std::string cache_salt;
  double ttft_slo_s = 0;  // objectives; 0: none
  double tpot_slo_s = 0;
  std::string echo;             // goes before the text of the first token
  v1::SamplingParams sampling;  // with its seed
  v1::StopParams stop;          // max_tokens >= 1, within the context
  bool score_only = false;      // the token that is drawn is not shown
  std::optional<v1::Embed> embed;
  std::vector<std::string> stop_strings;
  bool include_stop = false;  // the text ends with what ended it
  bool skip_special_tokens = true;
  absl::Time arrived;  // of the request, as all times on RouterContext::clock
  absl::Time deadline;
  std::string traceparent;                // for the calls to nodes; may be empty
  Timeline timeline;                      // what has passed since `arrived`
  std::shared_ptr<RequestRecord> record;  // told of what happens; may be null
};

// How a sequence went.
struct SequenceEnd {
  int32_t choice = 0;
  std::optional<ApiError> error;
  bool retry_when_others_end = false;  // every node was full, and no token has been sent
  v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;
  int32_t output_tokens = 0;
  int32_t cached_tokens = 0;
  int32_t retries = 0;
  absl::Duration first_token;  // since arrival
  std::string prefill_node;
  std::string decode_node;
  Timings timings;
};

// Called on the sequence's executor.
class SequenceListener {
 public:
  virtual ~SequenceListener() = default;
  // `new_tokens`: output tokens that this delta stands for, whether or not their text is certain.
  virtual void OnSequenceDelta(Delta delta, int32_t new_tokens) = 0;
  // Exactly once, last, unless cancelled.
  virtual void OnSequenceEnd(const SequenceEnd& end) = 0;
};

// Lives on one executor; every method and callback runs there. The calls to nodes keep it alive
// until they have ended.
class SequenceFlow : public std::enable_shared_from_this<SequenceFlow> {
 public:
  // `listener` must stay until OnSequenceEnd or Cancel.
  SequenceFlow(RouterContext& router, Executor executor, SequenceSpec spec,
               SequenceListener* listener);
  ~SequenceFlow();

  void Start() { Attempt(); }
  // Ends both calls at once. Nothing is called afterwards.
  void Cancel();

 private:
  // An attempt is a decode lease and, under it, one prefill after another. A sequence of one token
  // has no lease. When a node is lost, the next attempt goes on after the tokens that were
  // delivered: prompt and output so far are computed again elsewhere, and as drawing depends on
  // nothing but seed and position, the continuation is the one that would have come.
  void Attempt();
  // Output tokens that this attempt has to bring; with one, no decode node is needed.
  int32_t TokensLeft() const { return spec_.stop.max_tokens() - resumed_; }
  std::vector<int32_t> PromptSoFar() const;
  Placement WhatToPlace() const;
  // The nodes whose caches are of use for `tokens`.
  std::vector<PrefixMatch> Matches(const ClusterSnapshot& cluster,
                                   absl::Span<const int32_t> tokens) const;
  // Asks the scheduler. False when no node takes the sequence: then it has failed, or waits.
  bool Place(const ClusterSnapshot& cluster);
  // The scheduler's decision; pairs whose hand-overs fail are passed over where there is another.
  Decision DecideAroundCuts(const ClusterSnapshot& cluster, const Placement& placement,
                            Candidates* candidates) const;
  // The same for the prefill node alone, under the lease that is there.
  bool PlacePrefillAgain(const ClusterSnapshot& cluster);
  // What the prefill node could fetch from another instead of computing it.
  void FindPeer(const ClusterSnapshot& cluster, absl::Span<const PrefixMatch> matches);
  // Counts the prompt as sent to `node`.
  void CountPrefillWork(const Node& node);
  void StartDecode();
  void StartPrefill();

  void OnDecodeEvent(v1::DecodeEvent event, absl::Time received);
  void OnDecodeEnd(const absl::Status& status);
  void OnPrefillEvent(v1::PrefillEvent event, absl::Time received);
  void OnPrefillEnd(const absl::Status& status);
  void DecodeFailed(const absl::Status& status);
  void PrefillFailed(const absl::Status& status);
  // Whether another node may be tried after `failed` ended a call with `status`; counts the
  // failure.
  bool MayRetry(const absl::Status& status, const std::shared_ptr<NodeClient>& failed);
  // The prefill node, or its way to the decode node, is trusted less.
  void NotePrefillFailure(const absl::Status& status);
  // Whether the router as a whole may try again after the latest failure; takes from its budget.
  bool HasBudget(const ClusterSnapshot& cluster);

  // What nodes read off the prompt. A node that takes the prompt over begins again.
  void TakePromptLogprobs(v1::PromptLogprobs logprobs);
  void TakeEmbedding(const v1::Embedding& embedding);
  // Puts what was read into the first delta.
  void AddPromptScores(Delta* delta);
  // Sampling parameters of a call to a node; `reads`: it computes the prompt.
  v1::SamplingParams SamplingFor(bool reads) const;

  void Accept(const v1::Token& token, absl::Time received);
  void Deliver(const v1::Token& token, absl::Time received);
  void FinishAsNodeSays(v1::FinishReason reason);
  bool EndsSequence(int32_t id) const;
  void ObserveToken(absl::Time now);
  // The time up to a token that has just come from a node goes to the phases that led to it.
  void AttributeFirstToken(double prefill_seconds, absl::Time received);
  void AttributeTokens(const v1::DecodeTokens& tokens, absl::Time received);
  // Tells the record where the sequence is.
  void Note(absl::string_view state) const;
  // What a prefill on `node` took, as it measured it.
  void ObservePrefill(const Node& node, double queue_seconds, double prefill_seconds,
                      int64_t cached_tokens, absl::Time received);
  void ObserveEnd();

  void Finish(v1::FinishReason reason);
  void Fail(ApiError error, bool full = false);
  void FailForLackOfNodes(const ClusterSnapshot& cluster, absl::string_view role);
  // A node that was lost may be back soon, or another may have room: tries again for
  // failover_wait_ms. False when there is nothing to wait for.
  bool WaitForNodes(const ClusterSnapshot& cluster);
  void End(SequenceEnd end);

  void DropDecode();
  void DropPrefill();
  void ReleaseLease();
  void ReleasePrefillWork();
  absl::Duration Remaining() const;

  RouterContext& router_;
  Executor executor_;
  const SequenceSpec spec_;
  SequenceListener* listener_;
  TextStream text_;

  std::shared_ptr<const Node> decode_node_;
  std::shared_ptr<const Node> prefill_node_;  // none: the decode node computes the prompt itself
  std::shared_ptr<const Node> peer_;  // that has more of the prompt than prefill_node_; or none
  int64_t peer_tokens_ = 0;
  std::shared_ptr<DecodeCall> decode_;
  std::shared_ptr<PrefillCall> prefill_;
  v1::Ticket ticket_;
  v1::DecodeLeased leased_;
  bool lease_pending_ = false;  // leased, and not committed yet
  // Counted in the SentWork of the node that computes the prompt, until its first token has come.
  int64_t prefill_tokens_sent_ = 0;
  int64_t tokens_ahead_ = 0;       // that waited there before this prompt
  int64_t tokens_to_compute_ = 0;  // of this prompt, less what is believed to be cached there
  absl::Time placed_at_;
  double estimated_ttft_s_ = -1;  // from placed_at_
  double estimated_tpot_s_ = -1;
  bool decode_counted_ = false;  // counted in the decode node's SentWork
  std::set<std::shared_ptr<NodeClient>> tried_;
  int32_t retries_ = 0;
  int32_t resumed_ = 0;            // output tokens that the current attempt continues from
  int32_t failures_in_a_row_ = 0;  // without a token between them
  size_t output_at_failure_ = 0;
  bool saw_full_ = false;
  absl::Time last_failure_;
  std::shared_ptr<NodeClient> failed_;  // by whose failure the next attempt is needed
  boost::asio::steady_timer retry_timer_;
  absl::Time waiting_since_ = absl::InfiniteFuture();  // for a node to take the rest
  std::optional<ApiError> last_error_;

  std::vector<v1::PromptToken> prompt_scores_;  // from the prompt's second token on
  std::vector<int32_t> output_;                 // delivered token ids
  std::map<int32_t, v1::Token> early_;          // tokens that overtook the one before them
  std::optional<v1::DecodeFinished> decode_finished_;
  int32_t cached_tokens_ = 0;
  Timings timings_;
  double prefilled_here_seconds_ = -1;  // of this attempt's decode node; negative: it did not
  absl::Duration first_token_;
  absl::Time first_token_at_;
  absl::Time last_token_;
  bool ended_ = false;
};

}  // namespace baton::router
