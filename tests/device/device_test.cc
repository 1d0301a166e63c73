// What Device itself does for every chip: check once, then compute; and how chips are named.
#include "device/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/device_factory.h"

namespace baton::device {
namespace {

// Counts the ops that reach the chip.
class CountingDevice final : public Device {
 public:
  absl::string_view name() const override { return "counting"; }
  std::string description() const override { return "counts ops"; }
  int ops = 0;

 protected:
  absl::StatusOr<Buffer> DoAllocate(size_t) override { return Buffer(); }
  absl::StatusOr<std::unique_ptr<Weight>> DoPrepare(const StoredTensor&) override {
    ++ops;
    return std::unique_ptr<Weight>();
  }
  void DoEmbed(const EmbedArgs&) override { ++ops; }
  void DoRmsNorm(const RmsNormArgs&) override { ++ops; }
  void DoLinear(const LinearArgs&) override { ++ops; }
  void DoGatedLinear(const GatedLinearArgs&) override { ++ops; }
  void DoRope(const RopeArgs&) override { ++ops; }
  void DoAppendKv(const AppendKvArgs&) override { ++ops; }
  void DoAttention(const AttentionArgs&) override { ++ops; }
  void DoGatherRows(const GatherRowsArgs&) override { ++ops; }
  void DoHeadLinear(const HeadLinearArgs&) override { ++ops; }
  void DoCopyHeads(const CopyHeadsArgs&) override { ++ops; }
  void DoExperts(const ExpertsArgs&) override { ++ops; }
};

TEST(DeviceTest, NoRefusedOpReachesTheChip) {
  CountingDevice device;
  const auto refused = [](const absl::Status& status) {
    return status.code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused(device.Embed({})));
  EXPECT_TRUE(refused(device.RmsNorm({})));
  EXPECT_TRUE(refused(device.Linear({})));
  EXPECT_TRUE(refused(device.GatedLinear({})));
  EXPECT_TRUE(refused(device.Rope({})));
  EXPECT_TRUE(refused(device.AppendKv({})));
  EXPECT_TRUE(refused(device.Attention({})));
  EXPECT_TRUE(refused(device.GatherRows({})));
  EXPECT_TRUE(refused(device.Prepare({}).status()));
  EXPECT_EQ(device.ops, 0);
}

TEST(DeviceTest, AnAcceptedOpReachesTheChipOnce) {
  CountingDevice device;
  float in[2] = {1, 2}, out[2] = {}, gain[2] = {1, 1};
  EXPECT_TRUE(device.RmsNorm({{in, 1, 2, 2}, {gain, 1e-5f}, {out, 1, 2, 2}}).ok());
  EXPECT_EQ(device.ops, 1);
  const int32_t row = 0;
  EXPECT_TRUE(device.GatherRows({{in, 1, 2, 2}, {&row, 1}, {out, 1, 2, 2}}).ok());
  EXPECT_EQ(device.ops, 2);
}

TEST(CreateDeviceTest, MakesEveryDeviceByItsName) {
  for (const char* name : {"cpu", "p_chip", "d_chip"}) {
    const auto device = CreateDevice({.name = name, .threads = 2});
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_EQ((*device)->name(), name);
    EXPECT_EQ((*device)->description().find(name), 0u) << (*device)->description();
  }
}

TEST(CreateDeviceTest, SaysWhichNamesAndThreadCountsExist) {
  const auto unknown = CreateDevice({.name = "gpu"});
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.status().message()),
              testing::AllOf(testing::HasSubstr("gpu"), testing::HasSubstr("cpu"),
                             testing::HasSubstr("p_chip"), testing::HasSubstr("d_chip")));
  for (const int threads : {-1, 0, 257}) {
    for (const char* name : {"cpu", "p_chip", "d_chip"}) {
      const auto device = CreateDevice({.name = name, .threads = threads});
      EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(device.status().message()),
                  testing::AllOf(testing::HasSubstr(std::to_string(threads)),
                                 testing::HasSubstr("1 to 256")));
    }
  }
}

}  // namespace
}  // namespace baton::device
