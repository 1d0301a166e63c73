#include "router/candidates.h"

#include <algorithm>

#include "kvcache/block_hash.h"

namespace baton::router {
namespace {

// Walks the matches beside a list of nodes: both ascend by registration.
class MatchWalk {
 public:
  MatchWalk(absl::Span<const PrefixMatch> matches, int64_t prompt_tokens)
      : matches_(matches), prompt_tokens_(prompt_tokens) {}

  // Tokens of the prompt that `node` need not compute: whole blocks, and never the last token.
  int64_t CachedTokens(const Node& node) {
    while (at_ < matches_.size() && matches_[at_].node < node.registration) ++at_;
    if (at_ == matches_.size() || matches_[at_].node != node.registration) return 0;
    const int64_t block_tokens = node.hello.layout().block_tokens();
    return std::min<int64_t>(matches_[at_].blocks, (prompt_tokens_ - 1) / block_tokens) *
           block_tokens;
  }

 private:
  absl::Span<const PrefixMatch> matches_;
  const int64_t prompt_tokens_;
  size_t at_ = 0;
};

PrefillCandidate PrefillCandidateOf(const Node& node, int64_t now_ns) {
  const SentWork& sent = node.client->sent();
  PrefillCandidate candidate;
  candidate.queued_tokens =
      std::max(sent.tokens_outstanding.load(),
               node.load.prompt_tokens_queued() + sent.tokens_since_report.load());
  candidate.prompts = sent.prompts_outstanding.load();
  candidate.tokens_per_s = node.load.prefill_tokens_per_s();
  candidate.prefill = node.client->rates().prefill.At(now_ns);
  candidate.transfer = node.client->rates().transfer.At(now_ns);
  candidate.context_length = node.hello.context_length();
  candidate.available = !node.load.draining();
  return candidate;
}

DecodeCandidate DecodeCandidateOf(const Node& node, int64_t now_ns) {
  const SentWork& sent = node.client->sent();
  const v1::NodeLoad& load = node.load;
  DecodeCandidate candidate;
  candidate.blocks_free =
      load.blocks_free() + load.blocks_cached() - sent.blocks_since_report.load();
  candidate.blocks_total = load.blocks_total();
  candidate.sequences = std::max(
      sent.sequences_outstanding.load(),
      load.sequences_running() + load.sequences_waiting() + sent.sequences_since_report.load());
  candidate.queued_tokens = sent.tokens_outstanding.load();
  candidate.prompts = sent.prompts_outstanding.load();
  candidate.block_tokens = node.hello.layout().block_tokens();
  const NodeRates& rates = node.client->rates();
  candidate.step = rates.step.At(now_ns);
  candidate.prefill = rates.prefill.At(now_ns);
  candidate.transfer = rates.transfer.At(now_ns);
  candidate.context_length = node.hello.context_length();
  candidate.available = !load.draining();
  return candidate;
}

// Nodes at which calls fail are left out where there are others.
template <typename Candidate>
void LeaveOutPaused(const std::vector<std::shared_ptr<const Node>>& nodes, absl::Time now,
                    std::vector<Candidate>* candidates) {
  bool others = false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    others = others || ((*candidates)[i].available && !nodes[i]->client->Paused(now));
  }
  if (!others) return;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i]->client->Paused(now)) (*candidates)[i].available = false;
  }
}

}  // namespace

SchedulePolicy PolicyFrom(const v1::SchedulerConfig& config) {
  SchedulePolicy policy;
  policy.disaggregate = Disaggregate::kAuto;
  if (config.disaggregate() == "always") policy.disaggregate = Disaggregate::kAlways;
  if (config.disaggregate() == "never") policy.disaggregate = Disaggregate::kNever;
  policy.latency_weight = config.latency_weight() / 100.0;
  policy.queue_weight = config.queue_weight() / 100.0;
  policy.prefix_weight = config.prefix_weight() / 100.0;
  policy.free_blocks_weight = config.free_blocks_weight() / 100.0;
  policy.batch_weight = config.batch_weight() / 100.0;
  policy.headroom_weight = config.headroom_weight() / 100.0;
  policy.interference = config.interference_percent() / 100.0;
  policy.local_tokens_max = config.local_tokens_max();
  return policy;
}

std::vector<PrefixMatch> FindPrefixes(const ClusterSnapshot& cluster, const CacheIndex& index,
                                      absl::Span<const int32_t> tokens, absl::string_view salt) {
  std::vector<PrefixMatch> matches;
  for (const auto& [block_tokens, fingerprint] : cluster.caches) {
    const uint64_t seed = kvcache::BlockHashSeed(fingerprint, salt);
    const std::vector<PrefixMatch> found =
        index.Find(kvcache::BlockHashes(tokens, block_tokens, seed));
    matches.insert(matches.end(), found.begin(), found.end());
  }
  if (cluster.caches.size() > 1) {
    std::sort(matches.begin(), matches.end(),
              [](const PrefixMatch& a, const PrefixMatch& b) { return a.node < b.node; });
  }
  return matches;
}

Candidates CandidatesFor(const ClusterSnapshot& cluster, absl::Span<const PrefixMatch> matches,
                         int64_t prompt_tokens, const std::set<std::shared_ptr<NodeClient>>& tried,
                         absl::Time now) {
  const int64_t now_ns = absl::ToUnixNanos(now);
  Candidates candidates;
  candidates.prefill.reserve(cluster.prefill.size());
  MatchWalk prefill_matches(matches, prompt_tokens);
  for (const auto& node : cluster.prefill) {
    candidates.prefill.push_back(PrefillCandidateOf(*node, now_ns));
    PrefillCandidate& candidate = candidates.prefill.back();
    candidate.cached_tokens = prefill_matches.CachedTokens(*node);
    if (!tried.empty() && tried.count(node->client) > 0) candidate.available = false;
  }
  candidates.decode.reserve(cluster.decode.size());
  MatchWalk decode_matches(matches, prompt_tokens);
  for (const auto& node : cluster.decode) {
    candidates.decode.push_back(DecodeCandidateOf(*node, now_ns));
    DecodeCandidate& candidate = candidates.decode.back();
    candidate.cached_tokens = decode_matches.CachedTokens(*node);
    if (!tried.empty() && tried.count(node->client) > 0) candidate.available = false;
  }
  LeaveOutPaused(cluster.prefill, now, &candidates.prefill);
  LeaveOutPaused(cluster.decode, now, &candidates.decode);
  return candidates;
}

PrefixHolder LongestHolder(const ClusterSnapshot& cluster, absl::Span<const PrefixMatch> matches,
                           int64_t prompt_tokens, const Node& node) {
  PrefixHolder longest;
  for (const auto* list : {&cluster.prefill, &cluster.decode}) {
    MatchWalk walk(matches, prompt_tokens);
    for (const auto& other : *list) {
      const int64_t tokens = walk.CachedTokens(*other);
      if (tokens > longest.tokens && !other->load.draining()) longest = {other, tokens};
    }
  }
  // `node` itself holds as much where nobody holds more.
  for (const PrefixMatch& match : matches) {
    if (match.node != node.registration) continue;
    const int64_t mine = int64_t{match.blocks} * node.hello.layout().block_tokens();
    if (mine >= longest.tokens) return {};
  }
  return longest;
}

Outlook LookAt(const ClusterSnapshot& cluster, const SchedulePolicy& policy,
               const AdmissionAsk& ask, absl::Duration window, absl::Time now) {
  const Candidates candidates = CandidatesFor(cluster, ask.matches, ask.prompt_tokens, {}, now);
  Placement placement;
  placement.prompt_tokens = ask.prompt_tokens;
  placement.ttft_slo_s = ask.ttft_slo_s;
  placement.tpot_slo_s = ask.tpot_slo_s;
  if (!cluster.decode.empty()) {
    placement.kv_bytes_per_token = KvBytesPerToken(cluster.decode.front()->hello.layout());
  }
  const Decision decision = Decide(policy, placement, candidates.prefill, candidates.decode);
  Outlook outlook;
  // Without a node the request begins, and learns what is missing.
  if (!decision.decode) return outlook;
  outlook.ttft_s = decision.ttft_s;
  outlook.work_s = decision.work_s;
  outlook.workers =
      static_cast<double>(decision.prefill ? candidates.prefill.size() : candidates.decode.size());
  const DecodeCandidate& decode = candidates.decode[*decision.decode];
  const bool soon =
      decision.prompts_ahead < kPromptsAtOnce || decision.queue_s <= absl::ToDoubleSeconds(window);
  const int64_t blocks =
      (ask.prompt_tokens - decode.cached_tokens + decode.block_tokens) / decode.block_tokens;
  const bool idle = decode.sequences == 0;
  const bool fits = idle || decode.blocks_total <= 0 || blocks <= decode.blocks_free;
  const bool quick =
      idle || ask.tpot_slo_s <= 0 || decision.tpot_s < 0 || decision.tpot_s <= ask.tpot_slo_s;
  outlook.prefill_node = decision.prefill.has_value();
  if (!soon) outlook.room = Outlook::Room::kNotForPrompt;
  if (!fits || !quick) outlook.room = Outlook::Room::kNotForDecode;
  return outlook;
}

int64_t KvBytesPerToken(const v1::KvLayout& layout) {
  constexpr int64_t kBytesPerNumber = 2;  // f16, the only type
  const int64_t stored =
      layout.latent_dim() > 0 ? 1 : 2;  // keys, and values unless they are in them
  return int64_t{layout.layers()} * layout.kv_heads() * layout.head_dim() * stored *
         kBytesPerNumber;
}

}  // namespace baton::router
