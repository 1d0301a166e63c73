#include "models/expert_routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"

namespace baton::models {
namespace {

// exp by additions and multiplications only: libm's differs between machines in the last place.
// x = n ln2 + r, the series of r to 2^-53, times 2^n.
double Exp(double x) {
  if (!(x > -700)) return 0;
  const double n = std::nearbyint(std::min(x, 700.0) * 1.4426950408889634);
  const double r = (std::min(x, 700.0) - n * 0.693147180369123816490) - n * 1.90821492927058770e-10;
  double sum = 1;
  for (int i = 14; i >= 1; --i) sum = 1 + sum * r / i;
  return std::ldexp(sum, static_cast<int>(n));
}

std::vector<double> Softmax(const float* logits, int32_t count) {
  const double highest = *std::max_element(logits, logits + count);
  std::vector<double> scores(count);
  double sum = 0;
  for (int32_t i = 0; i < count; ++i) sum += scores[i] = Exp(logits[i] - highest);
  for (double& score : scores) score /= sum;
  return scores;
}

std::vector<double> Scores(const RoutingConfig& config, const float* logits) {
  switch (config.scoring) {
    case RoutingConfig::Scoring::kSoftmax:
      return Softmax(logits, config.experts);
    case RoutingConfig::Scoring::kSigmoid: {
      std::vector<double> scores(config.experts);
      for (int32_t i = 0; i < config.experts; ++i) scores[i] = 1 / (1 + Exp(-double{logits[i]}));
      return scores;
    }
    case RoutingConfig::Scoring::kSoftmaxOfChosen:
      break;
  }
  return std::vector<double>(logits, logits + config.experts);
}

// The indices of the `count` highest, highest first; NaN counts as lowest.
std::vector<int32_t> Highest(const std::vector<double>& scores, int32_t count) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](int32_t i) {
    return std::isnan(scores[i]) ? -std::numeric_limits<double>::infinity() : scores[i];
  };
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    return rank(a) != rank(b) ? rank(a) > rank(b) : a < b;
  });
  order.resize(count);
  return order;
}

// Scores of the experts outside the best groups become lower than any other.
void KeepBestGroups(const RoutingConfig& config, std::vector<double>& choice) {
  const int32_t size = config.experts / config.groups;
  std::vector<double> group_scores(config.groups);
  for (int32_t g = 0; g < config.groups; ++g) {
    const std::vector<double> group(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    const bool two = config.group_score == RoutingConfig::GroupScore::kTwoHighest && size > 1;
    for (const int32_t i : Highest(group, two ? 2 : 1)) group_scores[g] += group[i];
  }
  std::vector<bool> kept(config.groups, false);
  for (const int32_t g : Highest(group_scores, config.groups_kept)) kept[g] = true;
  for (int32_t i = 0; i < config.experts; ++i) {
    if (!kept[i / size]) choice[i] = -std::numeric_limits<double>::infinity();
  }
}

}  // namespace

std::string RoutingProblem(const RoutingConfig& config) {
  const auto outside = [](const char* field, int64_t value, int64_t limit) {
    return absl::StrCat(field, " is ", value, ", allowed are 1 to ", limit);
  };
  if (config.experts < 1 || config.experts > kMaxExperts) {
    return outside("number of experts", config.experts, kMaxExperts);
  }
  if (config.groups < 1 || config.experts % config.groups != 0) {
    return absl::StrCat("number of expert groups is ", config.groups, ", needed a divisor of the ",
                        config.experts, " experts");
  }
  if (config.groups_kept < 1 || config.groups_kept > config.groups) {
    return outside("number of expert groups kept", config.groups_kept, config.groups);
  }
  const int32_t eligible = config.experts / config.groups * config.groups_kept;
  if (config.experts_per_token < 1 || config.experts_per_token > eligible) {
    return outside("number of experts per token", config.experts_per_token, eligible);
  }
  if (!std::isfinite(config.scale) || config.scale <= 0) {
    return absl::StrCat("scale of the experts is ", config.scale, ", needed a number above 0");
  }
  return "";
}

void Route(const RoutingConfig& config, const float* logits, const float* bias, int32_t* chosen,
           float* weights) {
  const std::vector<double> scores = Scores(config, logits);
  std::vector<double> choice = scores;
  for (int32_t i = 0; bias != nullptr && i < config.experts; ++i) choice[i] += bias[i];
  if (config.groups > 1) KeepBestGroups(config, choice);
  std::vector<int32_t> best = Highest(choice, config.experts_per_token);
  std::sort(best.begin(), best.end());
  std::copy(best.begin(), best.end(), chosen);

  std::vector<double> chosen_scores;
  for (const int32_t expert : best) chosen_scores.push_back(scores[expert]);
  if (config.scoring == RoutingConfig::Scoring::kSoftmaxOfChosen) {
    const std::vector<float> rounded(chosen_scores.begin(), chosen_scores.end());
    chosen_scores = Softmax(rounded.data(), config.experts_per_token);
  }
  double divisor = 1;
  if (config.renormalise) {
    // The addend of the published models: no division by zero.
    divisor = std::accumulate(chosen_scores.begin(), chosen_scores.end(), 1e-20);
  }
  for (size_t i = 0; i < best.size(); ++i) {
    weights[i] = static_cast<float>(chosen_scores[i] / divisor * config.scale);
  }
}

}  // namespace baton::models
