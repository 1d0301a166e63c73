// What the scheduler is asked about: the nodes of a snapshot, as one prompt sees them.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "proto/config.pb.h"
#include "router/admission.h"
#include "router/cache_index.h"
#include "router/cluster_view.h"
#include "router/scheduler.h"

namespace baton::router {

// As configured.
SchedulePolicy PolicyFrom(const v1::SchedulerConfig& config);

// The nodes that hold the beginning of `tokens`, by ascending registration.
std::vector<PrefixMatch> FindPrefixes(const ClusterSnapshot& cluster, const CacheIndex& index,
                                      absl::Span<const int32_t> tokens, absl::string_view salt);

// In the order of the snapshot's lists.
struct Candidates {
  std::vector<PrefillCandidate> prefill;
  std::vector<DecodeCandidate> decode;
};
Candidates CandidatesFor(const ClusterSnapshot& cluster, absl::Span<const PrefixMatch> matches,
                         int64_t prompt_tokens, const std::set<std::shared_ptr<NodeClient>>& tried,
                         absl::Time now);

// Another node that holds more of the prompt than `node`, by whole blocks: the one that holds most.
struct PrefixHolder {
  std::shared_ptr<const Node> node;  // null: there is none
  int64_t tokens = 0;
};
PrefixHolder LongestHolder(const ClusterSnapshot& cluster, absl::Span<const PrefixMatch> matches,
                           int64_t prompt_tokens, const Node& node);

// How a request would fare if it began now. There is room when the node that would compute its
// prompt gets to it within `window` or has fewer than kPromptsAtOnce of this router, and the decode
// node has blocks for it and stays within tpot_slo_s; a node that does nothing has room for
// anything.
Outlook LookAt(const ClusterSnapshot& cluster, const SchedulePolicy& policy,
               const AdmissionAsk& ask, absl::Duration window, absl::Time now);

// Bytes of keys and values of one token.
int64_t KvBytesPerToken(const v1::KvLayout& layout);

}  // namespace baton::router
