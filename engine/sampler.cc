#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "engine/token_weights.h"

namespace baton::engine {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Penalties may leave the range of a float; an infinite logit would make weights that are no
// numbers.
float ToLogit(double value) {
  constexpr double kMost = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(value, -kMost, kMost));
}

// Higher first; equal scores by id, so that the order is total.
bool Better(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
}

absl::Status CheckFinite(absl::Span<const float> logits) {
  const int64_t first = FirstNotFinite(logits);
  if (first < 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("sampler: logit ", first, " of ", logits.size(), " is ", logits[first]));
}

// How far below the highest logit the likeliest tokens are looked for, in steps: first where nearly
// always all of them are.
constexpr float kDepths[] = {4.0f, 16.0f, std::numeric_limits<float>::infinity()};

// At least the `count` likeliest tokens that may be drawn, or all of them, in order of ids.
std::vector<int32_t> Likeliest(absl::Span<const float> logits, float highest, size_t count) {
  std::vector<int32_t> ids;
  for (const float depth : kDepths) {
    ids = IdsFrom(logits, std::max(highest - depth, -std::numeric_limits<float>::max()));
    if (ids.size() >= count) break;
  }
  return ids;
}

void AddLogprobs(absl::Span<const float> logits, int32_t top_count, SampledToken* sampled) {
  const float highest = Highest(logits);
  const double total = highest + std::log(WeightsOf(logits, highest, 1.0).total);
  sampled->logprob = static_cast<float>(logits[sampled->id] - total);
  const size_t count = std::min<size_t>(std::max(top_count, 0), logits.size());
  if (count == 0) return;
  std::vector<TokenLogprob> best;
  for (const int32_t id : Likeliest(logits, highest, count)) best.push_back({id, logits[id]});
  std::partial_sort(best.begin(), best.begin() + count, best.end(), Better);
  best.resize(count);
  for (TokenLogprob& token : best) token.logprob = static_cast<float>(token.logprob - total);
  sampled->top = std::move(best);
}

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0 || params.frequency_penalty != 0.0 ||
         params.presence_penalty != 0.0 || !params.logit_bias.empty();
}

void ApplyPenalties(const SamplingParams& params, const SampleContext& context,
                    std::vector<float>* logits) {
  const auto in_range = [&](int32_t id) {
    return id >= 0 && static_cast<size_t>(id) < logits->size();
  };
  if (params.repetition_penalty != 1.0) {
    std::vector<int32_t> seen(context.tokens.begin(), context.tokens.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t id : seen) {
      if (!in_range(id)) continue;
      float& logit = (*logits)[id];
      logit = ToLogit(logit > 0 ? logit / params.repetition_penalty
                                : logit * params.repetition_penalty);
    }
  }
  if (params.frequency_penalty != 0.0 || params.presence_penalty != 0.0) {
    std::map<int32_t, int32_t> counts;
    for (const int32_t id : context.tokens.subspan(context.prompt_tokens)) ++counts[id];
    for (const auto& [id, count] : counts) {
      if (!in_range(id)) continue;
      (*logits)[id] =
          ToLogit((*logits)[id] - params.frequency_penalty * count - params.presence_penalty);
    }
  }
  for (const LogitBias& bias : params.logit_bias) {
    if (in_range(bias.id)) (*logits)[bias.id] = ToLogit(double{(*logits)[bias.id]} + bias.bias);
  }
}

// The last token of each bad sequence whose other tokens are the latest output.
void BanBadSequences(const SamplingParams& params, const SampleContext& context,
                     std::vector<float>* logits) {
  const absl::Span<const int32_t> output = context.tokens.subspan(context.prompt_tokens);
  for (const std::vector<int32_t>& bad : params.bad_sequences) {
    if (bad.empty() || bad.size() - 1 > output.size()) continue;
    const absl::Span<const int32_t> latest = output.last(bad.size() - 1);
    if (!std::equal(latest.begin(), latest.end(), bad.begin())) continue;
    const int32_t id = bad.back();
    if (id >= 0 && static_cast<size_t>(id) < logits->size()) (*logits)[id] = kNever;
  }
}

// Leaves only the tokens of `ids`.
void KeepOnly(const std::vector<int32_t>& ids, std::vector<float>* logits) {
  std::vector<float> kept(logits->size(), kNever);
  for (const int32_t id : ids) {
    if (id >= 0 && static_cast<size_t>(id) < kept.size()) kept[id] = (*logits)[id];
  }
  *logits = std::move(kept);
}

void KeepMasked(absl::Span<const uint32_t> mask, std::vector<float>* logits) {
  for (size_t id = 0; id < logits->size(); ++id) {
    const bool allowed = id / 32 < mask.size() && (mask[id / 32] >> (id % 32) & 1) != 0;
    if (!allowed) (*logits)[id] = kNever;
  }
}

bool HasBans(const SamplingParams& params, const SampleContext& context) {
  return !context.banned_ids.empty() || !context.mask.empty() || !params.allowed_ids.empty() ||
         !params.bad_sequences.empty();
}

void ApplyBans(const SamplingParams& params, const SampleContext& context,
               std::vector<float>* logits) {
  if (!context.mask.empty()) KeepMasked(context.mask, logits);
  if (!params.allowed_ids.empty()) KeepOnly(params.allowed_ids, logits);
  BanBadSequences(params, context, logits);
  for (const int32_t id : context.banned_ids) {
    if (id >= 0 && static_cast<size_t>(id) < logits->size()) (*logits)[id] = kNever;
  }
}

// A token that may be drawn: its logit after penalties, and its weight
// exp((logit - highest logit) / temperature), which is a number however small the temperature is.
struct Candidate {
  int32_t id;
  float logit;
  double weight;
};

bool Likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

std::vector<Candidate> CandidatesOf(const std::vector<int32_t>& ids, absl::Span<const float> logits,
                                    const TokenWeights& weights) {
  std::vector<Candidate> candidates;
  candidates.reserve(ids.size());
  for (const int32_t id : ids) candidates.push_back({id, logits[id], weights.weights[id]});
  return candidates;
}

// What top-k leaves, the likeliest first.
std::vector<Candidate> TopK(absl::Span<const float> logits, float highest,
                            const TokenWeights& weights, size_t k) {
  std::vector<Candidate> candidates = CandidatesOf(Likeliest(logits, highest, k), logits, weights);
  k = std::min(k, candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(k),
                    candidates.end(), Likelier);
  candidates.resize(k);
  return candidates;
}

// The fewest likeliest tokens whose weight reaches `mass`, the likeliest first: those within a
// depth hold it, or a deeper look is needed.
std::vector<Candidate> Nucleus(absl::Span<const float> logits, float highest,
                               const TokenWeights& weights, double mass) {
  std::vector<Candidate> candidates;
  for (const float depth : kDepths) {
    const float lowest = std::max(highest - depth, -std::numeric_limits<float>::max());
    candidates = CandidatesOf(IdsFrom(logits, lowest), logits, weights);
    double sum = 0;
    for (const Candidate& c : candidates) sum += c.weight;
    if (sum >= mass) break;
  }
  std::sort(candidates.begin(), candidates.end(), Likelier);
  return candidates;
}

// Cuts what lies beyond the fewest candidates whose weight reaches `mass`; at least one stays.
void CutAt(double mass, std::vector<Candidate>* candidates) {
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates->size() && (kept == 0 || sum < mass))
    sum += (*candidates)[kept++].weight;
  candidates->resize(kept);
}

int32_t DrawFrom(const std::vector<Candidate>& candidates, double min_weight, double uniform) {
  double mass = 0;
  for (const Candidate& c : candidates) mass += c.weight < min_weight ? 0 : c.weight;
  double left = uniform * mass;
  int32_t last = candidates.front().id;
  for (const Candidate& c : candidates) {
    if (c.weight == 0 || c.weight < min_weight) continue;
    last = c.id;
    left -= c.weight;
    if (left < 0) break;
  }
  return last;
}

// Draws among all tokens, in order of ids: first the block, then the token in it.
int32_t DrawFromAll(const TokenWeights& weights, double uniform) {
  double left = uniform * weights.total;
  size_t block = 0;
  while (block + 1 < weights.block_sums.size() && left >= weights.block_sums[block]) {
    left -= weights.block_sums[block++];
  }
  const size_t begin = block * TokenWeights::kBlock;
  const size_t end = std::min(begin + TokenWeights::kBlock, weights.weights.size());
  int32_t last = -1;
  for (size_t i = begin; i < end; ++i) {
    if (weights.weights[i] == 0) continue;
    last = static_cast<int32_t>(i);
    left -= weights.weights[i];
    if (left < 0) return last;
  }
  if (last >= 0) return last;
  // Rounding led to a block without a token that may be drawn: the last one before it.
  for (size_t i = begin; i-- > 0;) {
    if (weights.weights[i] > 0) return static_cast<int32_t>(i);
  }
  return ArgMax(weights.weights);
}

// min-p is relative to the likeliest candidate, whose weight is 1.
int32_t Draw(absl::Span<const float> logits, const SamplingParams& params, double uniform) {
  const float highest = Highest(logits);
  const TokenWeights weights = WeightsOf(logits, highest, params.temperature);
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < logits.size()) {
    std::vector<Candidate> best = TopK(logits, highest, weights, params.top_k);
    double total = 0;
    for (const Candidate& c : best) total += c.weight;
    if (params.top_p < 1.0) CutAt(params.top_p * total, &best);
    return DrawFrom(best, params.min_p, uniform);
  }
  if (params.top_p < 1.0) {
    const double mass = params.top_p * weights.total;
    std::vector<Candidate> best = Nucleus(logits, highest, weights, mass);
    CutAt(mass, &best);
    return DrawFrom(best, params.min_p, uniform);
  }
  if (params.min_p > 0) {
    const std::vector<int32_t> ids = IdsFrom(
        logits, static_cast<float>(highest + params.temperature * std::log(params.min_p) - 1.0));
    return DrawFrom(CandidatesOf(ids, logits, weights), params.min_p, uniform);
  }
  return DrawFromAll(weights, uniform);
}

}  // namespace

absl::StatusOr<SampledToken> Sample(absl::Span<const float> logits, const SamplingParams& params,
                                    const SampleContext& context) {
  BATON_RETURN_IF_ERROR(CheckFinite(logits));
  std::vector<float> adjusted;  // a copy only where something changes it
  absl::Span<const float> scores = logits;
  if (HasPenalties(params) || HasBans(params, context)) {
    adjusted.assign(logits.begin(), logits.end());
    ApplyPenalties(params, context, &adjusted);
    ApplyBans(params, context, &adjusted);
    scores = adjusted;
    if (Highest(scores) == kNever) {
      return absl::InvalidArgumentError(
          absl::StrCat("sampler: all ", adjusted.size(),
                       " tokens are banned here: allowed_token_ids, bad_words, the grammar and "
                       "min_tokens with stop tokens leave nothing to draw"));
    }
  }
  SampledToken sampled;
  if (params.temperature <= 0.0) {
    sampled.id = ArgMax(scores);
  } else {
    const uint64_t word = CounterRandom(params.seed, static_cast<uint64_t>(context.position));
    const double uniform = static_cast<double>(word >> 11) * 0x1p-53;
    sampled.id = Draw(scores, params, uniform);
  }
  if (params.logprobs || params.top_logprobs > 0) {
    AddLogprobs(logits, params.top_logprobs, &sampled);
  }
  return sampled;
}

absl::StatusOr<SampledToken> Score(absl::Span<const float> logits, int32_t id, int32_t top_count) {
  BATON_RETURN_IF_ERROR(CheckFinite(logits));
  SampledToken token{.id = id};
  AddLogprobs(logits, top_count, &token);
  return token;
}

int32_t RankOf(absl::Span<const float> logits, int32_t id) {
  int32_t better = 0;
  for (size_t i = 0; i < logits.size(); ++i) better += logits[i] > logits[id] ? 1 : 0;
  // Equals come in order of their ids, as everywhere.
  better += static_cast<int32_t>(std::count(logits.begin(), logits.begin() + id, logits[id]));
  return better + 1;
}

}  // namespace baton::engine
