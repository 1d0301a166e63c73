#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"

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
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) {
      return absl::InternalError(
          absl::StrCat("sampler: logit ", i, " of ", logits.size(), " is ", logits[i]));
    }
  }
  return absl::OkStatus();
}

// ln(sum(exp(logits))), in double and in order of ids.
double LogSumExp(absl::Span<const float> logits) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - highest);
  return highest + std::log(sum);
}

void AddLogprobs(absl::Span<const float> logits, const SamplingParams& params,
                 SampledToken* sampled) {
  if (!params.logprobs && params.top_logprobs == 0) return;
  const double total = LogSumExp(logits);
  sampled->logprob = static_cast<float>(logits[sampled->id] - total);
  const size_t count = std::min<size_t>(std::max(params.top_logprobs, 0), logits.size());
  if (count == 0) return;
  std::vector<TokenLogprob> all(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) all[i] = {static_cast<int32_t>(i), logits[i]};
  std::partial_sort(all.begin(), all.begin() + count, all.end(), Better);
  all.resize(count);
  for (TokenLogprob& token : all) token.logprob = static_cast<float>(token.logprob - total);
  sampled->top = std::move(all);
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

int32_t ArgMax(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
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

// What top-k leaves, in order of ids, with weights.
std::vector<Candidate> Candidates(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == kNever) continue;
    candidates.push_back({static_cast<int32_t>(i), logits[i], 0});
  }
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + params.top_k - 1, candidates.end(),
                     Likelier);
    candidates.resize(params.top_k);
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  }
  const double highest = std::min_element(candidates.begin(), candidates.end(), Likelier)->logit;
  for (Candidate& c : candidates) c.weight = std::exp((c.logit - highest) / params.temperature);
  return candidates;
}

// Keeps the fewest likeliest candidates whose weight reaches top_p of the total. How many that
// takes is not known before, so the best are sorted in growing batches instead of the whole
// vocabulary.
void KeepNucleus(double top_p, std::vector<Candidate>* candidates) {
  double total = 0;
  for (const Candidate& c : *candidates) total += c.weight;
  size_t sorted = 0, kept = 0;
  double mass = 0;
  while (kept < candidates->size() && (kept == 0 || mass < top_p * total)) {
    if (kept == sorted) {
      const size_t next = std::min(candidates->size(), std::max<size_t>(64, sorted * 4));
      std::partial_sort(candidates->begin() + sorted, candidates->begin() + next, candidates->end(),
                        Likelier);
      sorted = next;
    }
    mass += (*candidates)[kept++].weight;
  }
  candidates->resize(kept);
}

int32_t Draw(const std::vector<float>& logits, const SamplingParams& params, double uniform) {
  std::vector<Candidate> candidates = Candidates(logits, params);
  if (params.top_p < 1.0) KeepNucleus(params.top_p, &candidates);
  double mass = 0;
  for (Candidate& c : candidates) {
    // min-p is relative to the likeliest candidate, whose weight is 1.
    if (c.weight < params.min_p) c.weight = 0;
    mass += c.weight;
  }
  double left = uniform * mass;
  int32_t last = candidates.front().id;
  for (const Candidate& c : candidates) {
    if (c.weight == 0) continue;
    last = c.id;
    left -= c.weight;
    if (left < 0) break;
  }
  return last;
}

}  // namespace

absl::StatusOr<SampledToken> Sample(absl::Span<const float> logits, const SamplingParams& params,
                                    const SampleContext& context) {
  BATON_RETURN_IF_ERROR(CheckFinite(logits));
  std::vector<float> adjusted(logits.begin(), logits.end());
  ApplyPenalties(params, context, &adjusted);
  for (const int32_t id : context.banned_ids) {
    if (id >= 0 && static_cast<size_t>(id) < adjusted.size()) adjusted[id] = kNever;
  }
  if (std::all_of(adjusted.begin(), adjusted.end(), [](float logit) { return logit == kNever; })) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampler: all ", adjusted.size(),
                     " tokens are banned here: min_tokens with stop tokens "
                     "that leave nothing to draw"));
  }
  SampledToken sampled;
  if (params.temperature <= 0.0) {
    sampled.id = ArgMax(adjusted);
  } else {
    const uint64_t word = CounterRandom(params.seed, static_cast<uint64_t>(context.position));
    const double uniform = static_cast<double>(word >> 11) * 0x1p-53;
    sampled.id = Draw(adjusted, params, uniform);
  }
  AddLogprobs(logits, params, &sampled);
  return sampled;
}

}  // namespace baton::engine
