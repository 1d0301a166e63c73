#include "device/roofline.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace baton::device {
namespace {

// Round numbers: 100 operations and 10 bytes a second.
ChipSpec RoundChip() {
  return {.name = "round",
          .dies = 2,
          .peak = {.bf16 = 100},
          .memory = {{"near", 50, 1000, 0.5}, {"far", 5000, 10, 1}},
          .die_link = {.bandwidth_bytes_per_s = 4, .latency_s = 2},
          .chip_link = {.bandwidth_bytes_per_s = 2, .latency_s = 4},
          .power_w = 3};
}

OpCost CostIn(const MemoryLevel& level, const OpWork& work) {
  return *Cost(RoundChip(), level, work);
}

TEST(Roofline, AnOpTakesTheLongerOfArithmeticAndMemoryAndTheLatencyOnTop) {
  const ChipSpec chip = RoundChip();
  const OpCost compute = CostIn(chip.memory[1], {.flops = 1000, .weight_bytes = 20});
  EXPECT_DOUBLE_EQ(compute.seconds, 10 + 1);
  EXPECT_EQ(compute.bound, Bound::kCompute);
  EXPECT_DOUBLE_EQ(compute.joules, 33);
  const OpCost memory = CostIn(
      chip.memory[1], {.flops = 100, .weight_bytes = 20, .kv_bytes = 20, .activation_bytes = 10});
  EXPECT_DOUBLE_EQ(memory.seconds, 5 + 1);
  EXPECT_EQ(memory.bound, Bound::kMemory);
}

TEST(Roofline, LinksAreThoseBetweenDiesOrBetweenChips) {
  const ChipSpec chip = RoundChip();
  const OpCost dies = CostIn(chip.memory[1], {.link_bytes = 40});
  EXPECT_DOUBLE_EQ(dies.seconds, 10 + 1 + 2);
  EXPECT_EQ(dies.bound, Bound::kLink);
  const OpCost chips = CostIn(chip.memory[1], {.link_bytes = 40, .between_chips = true});
  EXPECT_DOUBLE_EQ(chips.seconds, 20 + 1 + 4);
}

TEST(Roofline, RepeatsFollowOneAnother) {
  const ChipSpec chip = RoundChip();
  const OpCost cost = CostIn(chip.memory[1], {.weight_bytes = 1, .repeats = 10});
  EXPECT_DOUBLE_EQ(cost.seconds, 10 * (0.1 + 1));
  EXPECT_EQ(cost.bound, Bound::kLatency);
}

TEST(Roofline, TheFastestLevelThatIsLargeEnoughHoldsTheModel) {
  const ChipSpec chip = RoundChip();
  EXPECT_EQ(LevelFor(chip, 50)->name, "near");
  EXPECT_EQ(LevelFor(chip, 51)->name, "far");
  EXPECT_EQ(LevelFor(chip, 5001), nullptr);
}

TEST(Roofline, ArithmeticThatAChipLacksIsDoneInTheNextWiderThatItHas) {
  EXPECT_DOUBLE_EQ(*PeakFor(RoundChip(), Arithmetic::kInt8), 100);
  const auto none = PeakFor(RoundChip(), Arithmetic::kFp32);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.status().message()), testing::HasSubstr("round"));
}

}  // namespace
}  // namespace baton::device
