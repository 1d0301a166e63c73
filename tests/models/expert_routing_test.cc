// Which experts the published rules choose, by examples that were worked out by hand.
#include "models/expert_routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace baton::models {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Routed {
  std::vector<int32_t> chosen;
  std::vector<float> weights;
};

Routed RouteOne(const RoutingConfig& config, const std::vector<float>& logits,
                const std::vector<float>& bias = {}) {
  EXPECT_THAT(RoutingProblem(config), IsEmpty());
  EXPECT_EQ(logits.size(), static_cast<size_t>(config.experts));
  Routed routed{std::vector<int32_t>(config.experts_per_token),
                std::vector<float>(config.experts_per_token)};
  Route(config, logits.data(), bias.empty() ? nullptr : bias.data(), routed.chosen.data(),
        routed.weights.data());
  return routed;
}

// Logits whose softmax is 0.1, 0.4, 0.2, 0.3.
std::vector<float> Tenths() {
  return {std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(3.0f)};
}

TEST(ExpertRouting, SoftmaxOfAllTakesTheHighestInAscendingOrder) {
  const Routed routed = RouteOne({.experts = 4, .experts_per_token = 2}, Tenths());
  EXPECT_THAT(routed.chosen, ElementsAre(1, 3));
  EXPECT_NEAR(routed.weights[0], 0.4, 1e-6);
  EXPECT_NEAR(routed.weights[1], 0.3, 1e-6);
}

TEST(ExpertRouting, RenormalisedWeightsSumToTheScale) {
  const Routed routed = RouteOne(
      {.experts = 4, .experts_per_token = 2, .renormalise = true, .scale = 2.5f}, Tenths());
  EXPECT_NEAR(routed.weights[0], 2.5 * 4 / 7, 1e-6);
  EXPECT_NEAR(routed.weights[1], 2.5 * 3 / 7, 1e-6);
}

TEST(ExpertRouting, SoftmaxOfTheChosenIsTheRenormalisedSoftmaxOfAll) {
  const Routed routed = RouteOne(
      {.experts = 4, .experts_per_token = 3, .scoring = RoutingConfig::Scoring::kSoftmaxOfChosen},
      Tenths());
  EXPECT_THAT(routed.chosen, ElementsAre(1, 2, 3));
  EXPECT_NEAR(routed.weights[0], 4.0 / 9, 1e-6);
  EXPECT_NEAR(routed.weights[1], 2.0 / 9, 1e-6);
  EXPECT_NEAR(routed.weights[2], 3.0 / 9, 1e-6);
}

TEST(ExpertRouting, TheBiasDecidesTheChoiceButNotTheWeight) {
  const RoutingConfig config{
      .experts = 3, .experts_per_token = 1, .scoring = RoutingConfig::Scoring::kSigmoid};
  const Routed plain = RouteOne(config, {0.0f, 1.0f, -1.0f});
  EXPECT_THAT(plain.chosen, ElementsAre(1));
  const Routed biased = RouteOne(config, {0.0f, 1.0f, -1.0f}, {0.0f, -0.5f, 0.0f});
  EXPECT_THAT(biased.chosen, ElementsAre(0));
  EXPECT_FLOAT_EQ(biased.weights[0], 0.5f);
}

// Six experts in three groups: the best expert is alone in its group, the best pair is elsewhere.
TEST(ExpertRouting, OnlyExpertsOfTheBestGroupsAreChosen) {
  const std::vector<float> logits = {2.0f, -9.0f, 1.0f, 0.9f, 0.5f, -9.0f};
  RoutingConfig config{.experts = 6,
                       .experts_per_token = 2,
                       .scoring = RoutingConfig::Scoring::kSigmoid,
                       .groups = 3,
                       .groups_kept = 1,
                       .group_score = RoutingConfig::GroupScore::kHighest};
  EXPECT_THAT(RouteOne(config, logits).chosen, ElementsAre(0, 1));
  config.group_score = RoutingConfig::GroupScore::kTwoHighest;
  EXPECT_THAT(RouteOne(config, logits).chosen, ElementsAre(2, 3));
  config.groups_kept = 2;
  EXPECT_THAT(RouteOne(config, logits).chosen, ElementsAre(0, 2));
}

TEST(ExpertRouting, OfEqualScoresTheLowerIndexWins) {
  for (const auto scoring : {RoutingConfig::Scoring::kSoftmax, RoutingConfig::Scoring::kSigmoid,
                             RoutingConfig::Scoring::kSoftmaxOfChosen}) {
    const Routed routed = RouteOne({.experts = 5, .experts_per_token = 2, .scoring = scoring},
                                   {0.5f, 1.0f, 1.0f, 1.0f, 0.5f});
    EXPECT_THAT(routed.chosen, ElementsAre(1, 2));
    EXPECT_EQ(routed.weights[0], routed.weights[1]);
  }
}

TEST(ExpertRouting, LogitsBeyondAllMeasureStillChooseValidExperts) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& logits :
       {std::vector<float>{1e30f, -1e30f, 0.0f}, std::vector<float>{-infinity, 1.0f, 2.0f},
        std::vector<float>{std::nanf(""), std::nanf(""), std::nanf("")}}) {
    for (const auto scoring :
         {RoutingConfig::Scoring::kSoftmax, RoutingConfig::Scoring::kSigmoid}) {
      const Routed routed =
          RouteOne({.experts = 3, .experts_per_token = 2, .scoring = scoring}, logits);
      EXPECT_GE(routed.chosen[0], 0);
      EXPECT_LT(routed.chosen[0], routed.chosen[1]);
      EXPECT_LT(routed.chosen[1], 3);
    }
  }
}

TEST(ExpertRouting, ProblemsNameTheNumberAndItsLimit) {
  EXPECT_THAT(RoutingProblem({.experts = 4, .experts_per_token = 5}),
              HasSubstr("number of experts per token is 5, allowed are 1 to 4"));
  EXPECT_THAT(RoutingProblem({.experts = 8, .experts_per_token = 3, .groups = 4}),
              HasSubstr("allowed are 1 to 2"));
  EXPECT_THAT(RoutingProblem({.experts = 8, .experts_per_token = 1, .groups = 3}),
              HasSubstr("number of expert groups is 3"));
  EXPECT_THAT(RoutingProblem({.experts = 8, .experts_per_token = 1, .groups = 2, .groups_kept = 3}),
              HasSubstr("groups kept is 3"));
  EXPECT_THAT(RoutingProblem({.experts = 8, .experts_per_token = 1, .scale = 0}),
              HasSubstr("scale of the experts is 0"));
  EXPECT_THAT(RoutingProblem({.experts = 0, .experts_per_token = 1}), HasSubstr("is 0"));
}

}  // namespace
}  // namespace baton::models
