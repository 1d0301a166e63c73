#include "router/role_balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace baton::router {
namespace {

constexpr absl::Duration kHold = absl::Seconds(3);
constexpr absl::Duration kDwell = absl::Seconds(30);
constexpr RoleDemand kNobody{};
constexpr RoleDemand kForPrefill{.waiting = 7, .for_prefill = true};
constexpr RoleDemand kForDecode{.waiting = 7, .for_decode = true};

class RoleBalancerTest : public testing::Test {
 protected:
  // The move that a demand of `time` leads to, looked at four times a second.
  std::optional<RoleMove> During(const RoleDemand& demand, absl::Duration time) {
    const absl::Time end = now_ + time;
    while (now_ <= end) {
      if (std::optional<RoleMove> move = balancer_.Decide(nodes_, demand, now_)) return move;
      now_ += absl::Milliseconds(250);
    }
    return std::nullopt;
  }
  static RoleNode NodeOf(bool prefill, bool movable, int64_t sequences = 0) {
    return {.prefill = prefill, .movable = movable, .sequences = sequences, .blocks_total = 100};
  }

  RoleBalancer balancer_{{.hold = kHold, .dwell = kDwell, .room = 0.8}};
  absl::Time now_ = absl::UnixEpoch();
  // One of each kind for ever, and two that decode for now.
  std::vector<RoleNode> nodes_ = {NodeOf(true, false), NodeOf(false, false), NodeOf(false, true, 5),
                                  NodeOf(false, true, 2)};
};

TEST_F(RoleBalancerTest, WhoWaitsForPrefillNodesGetsTheDecodeNodeWithTheLeastToDo) {
  const std::optional<RoleMove> move = During(kForPrefill, absl::Seconds(10));
  ASSERT_TRUE(move.has_value());
  EXPECT_EQ(move->node, 3u);
  EXPECT_TRUE(move->to_prefill);
  EXPECT_EQ(move->reason, RoleMoveReason::kPrefillBusy);
  EXPECT_EQ(now_ - absl::UnixEpoch(), kHold);
  EXPECT_EQ(move->why,
            "prefill nodes have held work up for 3.0 s: 7 requests in line, 0 sequences wait on "
            "decode nodes, which use 0 of 300 blocks; 2 decode nodes stay");
}

TEST_F(RoleBalancerTest, WhoWaitsForDecodeNodesGetsAPrefillNode) {
  nodes_[2].prefill = true;
  const std::optional<RoleMove> move = During(kForDecode, absl::Seconds(10));
  ASSERT_TRUE(move.has_value());
  EXPECT_EQ(move->node, 2u);
  EXPECT_FALSE(move->to_prefill);
  EXPECT_EQ(move->reason, RoleMoveReason::kDecodeBusy);
}

// Sequences that lost their blocks wait where no line shows it.
TEST_F(RoleBalancerTest, DecodeNodesThatAreAllOutOfBlocksGetAPrefillNode) {
  nodes_[2].prefill = nodes_[3].prefill = true;
  nodes_[1].waiting = 5;
  nodes_[1].blocks_used = 80;
  EXPECT_FALSE(During(kNobody, absl::Minutes(2)).has_value());
  nodes_[1].blocks_used = 95;
  const std::optional<RoleMove> move = During(kNobody, absl::Seconds(10));
  ASSERT_TRUE(move.has_value());
  EXPECT_EQ(move->node, 3u);
  EXPECT_EQ(move->reason, RoleMoveReason::kDecodeBusy);
}

TEST_F(RoleBalancerTest, NothingMovesWhereNobodyWaitsOrNotForLong) {
  EXPECT_FALSE(During(kNobody, absl::Minutes(10)).has_value());
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(During(kForPrefill, absl::Seconds(2)).has_value());
    EXPECT_FALSE(During(kNobody, absl::Seconds(1)).has_value());
    EXPECT_FALSE(During(kForDecode, absl::Seconds(2)).has_value());
  }
}

// The line moves on a little now and then; the need is still the same.
TEST_F(RoleBalancerTest, ANextInLineThatIsFreeToBeginEndsNoNeed) {
  EXPECT_FALSE(During(kForPrefill, absl::Seconds(2)).has_value());
  EXPECT_FALSE(balancer_.Decide(nodes_, {.waiting = 7}, now_).has_value());
  EXPECT_TRUE(During(kForPrefill, absl::Seconds(1.5)).has_value());
}

TEST_F(RoleBalancerTest, OneMoveAtATimeAndNoneSoonAfter) {
  ASSERT_TRUE(During(kForPrefill, absl::Seconds(10)).has_value());
  nodes_[3].draining = true;
  EXPECT_FALSE(During(kForPrefill, absl::Minutes(2)).has_value());
  nodes_[3] = NodeOf(true, true);
  now_ = absl::UnixEpoch() + kHold + absl::Seconds(1);
  EXPECT_FALSE(During(kForDecode, kDwell - absl::Seconds(2)).has_value());
  EXPECT_TRUE(During(kForDecode, absl::Seconds(2)).has_value());
}

TEST_F(RoleBalancerTest, TheLastOfAKindAndNodesOfOneRoleStay) {
  nodes_ = {NodeOf(true, true), NodeOf(false, true)};
  EXPECT_FALSE(During(kForPrefill, absl::Minutes(2)).has_value());
  EXPECT_FALSE(During(kForDecode, absl::Minutes(2)).has_value());
  nodes_ = {NodeOf(true, false), NodeOf(true, false), NodeOf(false, false), NodeOf(false, false)};
  EXPECT_FALSE(During(kForPrefill, absl::Minutes(2)).has_value());
  EXPECT_FALSE(During(kForDecode, absl::Minutes(2)).has_value());
}

TEST_F(RoleBalancerTest, StreamsKeepTheRoomThatTheyNeed) {
  for (size_t i = 1; i < nodes_.size(); ++i) nodes_[i].blocks_used = 60;  // 180 of 200 that stay
  EXPECT_FALSE(During(kForPrefill, absl::Minutes(2)).has_value());
  nodes_[1].blocks_used = 30;  // 150 of 200
  EXPECT_TRUE(During(kForPrefill, absl::Minutes(2)).has_value());
}

// A cluster of nodes of role any alone finds both roles by itself.
TEST_F(RoleBalancerTest, AKindThatIsMissingIsMadeWhetherSomebodyWaitsOrNot) {
  nodes_ = {NodeOf(false, true), NodeOf(false, true)};
  std::optional<RoleMove> move = During(kNobody, absl::Seconds(10));
  ASSERT_TRUE(move.has_value());
  EXPECT_EQ(move->reason, RoleMoveReason::kPrefillMissing);
  EXPECT_EQ(move->why, "there is no prefill node");
  nodes_ = {NodeOf(true, true), NodeOf(true, true)};
  move = During(kNobody, absl::Seconds(10));
  ASSERT_TRUE(move.has_value());
  EXPECT_EQ(move->reason, RoleMoveReason::kDecodeMissing);
  nodes_ = {NodeOf(false, true), NodeOf(false, true)};
  EXPECT_FALSE(During({.prefill_needed = false}, absl::Minutes(2)).has_value());
}

}  // namespace
}  // namespace baton::router
