#include "engine/token_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace baton::engine {
namespace {

constexpr int64_t kLanes = 16;

// exp(x) for x <= 0: x = n ln2 + r, a polynomial of degree 6 in r (Cephes expf), times 2^n. Below
// -87 the result is 0.
inline float ExpOfNegative(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
  const float clamped = std::max(x, -87.0f);
  const float n = (clamped * 1.44269504088896341f + kRound) - kRound;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const float power = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0f ? 0.0f : p * power;
}

void ExpOfAll(const float* __restrict logits, int64_t count, float highest, float divisor,
              float* __restrict weights) {
  for (int64_t i = 0; i < count; ++i) weights[i] = ExpOfNegative((logits[i] - highest) / divisor);
}

double Sum(const float* weights, int64_t count) {
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += double{weights[i + lane]};
  }
  for (; i < count; ++i) sums[0] += double{weights[i]};
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return sum;
}

}  // namespace

int64_t FirstNotFinite(absl::Span<const float> logits) {
  const int64_t count = static_cast<int64_t>(logits.size());
  float zeros[kLanes] = {};  // a number times zero is zero; anything else is not a number
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) zeros[lane] += logits[i + lane] * 0.0f;
  }
  bool good = std::all_of(zeros, zeros + kLanes, [](float zero) { return zero == 0.0f; });
  for (; i < count; ++i) good = good && std::isfinite(logits[i]);
  if (good) return -1;
  return std::find_if(logits.begin(), logits.end(), [](float x) { return !std::isfinite(x); }) -
         logits.begin();
}

float Highest(absl::Span<const float> logits) {
  const int64_t count = static_cast<int64_t>(logits.size());
  float highest[kLanes];
  std::fill(highest, highest + kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      highest[lane] = logits[i + lane] > highest[lane] ? logits[i + lane] : highest[lane];
    }
  }
  for (; i < count; ++i) highest[0] = std::max(highest[0], logits[i]);
  return *std::max_element(highest, highest + kLanes);
}

int32_t ArgMax(absl::Span<const float> logits) {
  const float highest = Highest(logits);
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), highest) - logits.begin());
}

TokenWeights WeightsOf(absl::Span<const float> logits, float highest, double temperature) {
  const int64_t count = static_cast<int64_t>(logits.size());
  // A temperature that is nothing in a float would make 0 / 0 of the highest logit.
  const float divisor = std::max(static_cast<float>(temperature), 1e-30f);
  TokenWeights result;
  result.weights.resize(logits.size());
  ExpOfAll(logits.data(), count, highest, divisor, result.weights.data());
  for (int64_t begin = 0; begin < count; begin += TokenWeights::kBlock) {
    const int64_t end = std::min(begin + TokenWeights::kBlock, count);
    result.block_sums.push_back(Sum(result.weights.data() + begin, end - begin));
    result.total += result.block_sums.back();
  }
  return result;
}

std::vector<int32_t> IdsFrom(absl::Span<const float> logits, float lowest) {
  std::vector<int32_t> ids;
  const int64_t count = static_cast<int64_t>(logits.size());
  for (int64_t begin = 0; begin < count; begin += kLanes) {
    const int64_t end = std::min(begin + kLanes, count);
    int32_t any = 0;
    for (int64_t i = begin; i < end; ++i) any |= logits[i] >= lowest ? 1 : 0;
    if (any == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (logits[i] >= lowest) ids.push_back(static_cast<int32_t>(i));
    }
  }
  return ids;
}

}  // namespace baton::engine
