#include "device/plugin/plugin_device.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "device/block_formats.h"
#include "device/conformance/op_case.h"
#include "device/device_factory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace baton::device {
namespace {

using testing::HasSubstr;

class FaultyChip : public testing::Test {
 protected:
  void TearDown() override { unsetenv("BATON_FAULTY"); }
  static void Fault(const char* what) { setenv("BATON_FAULTY", what, 1); }
  absl::StatusOr<std::unique_ptr<Device>> Load() {
    return LoadPluginDevice({.path = BATON_FAULTY_CHIP, .warn = [this](const std::string& warning) {
                               warnings_.push_back(warning);
                             }});
  }
  // One rms_norm of two rows.
  static absl::Status Norm(Device& device) {
    std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8}, out(8), gain(4, 1.0f);
    return device.RmsNorm(
        {MatrixView{x.data(), 2, 4, 4}, {gain.data(), 1e-5f}, MatrixView{out.data(), 2, 4, 4}});
  }
  std::vector<std::string> warnings_;
};

TEST(PluginDevice, ALibraryThatIsNotThereIsNotFoundByName) {
  const auto device = CreateDevice({.name = "plugin:/nowhere/libchip.so"});
  EXPECT_EQ(device.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(device.status().message()), HasSubstr("/nowhere/libchip.so"));
}

TEST(PluginDevice, TheExampleChipPassesTheConformanceSuite) {
  const auto device = CreateDevice({.name = std::string("plugin:") + BATON_PLAIN_CHIP});
  ASSERT_TRUE(device.ok()) << device.status();
  const auto reference = CreateDevice({.name = "cpu"});
  for (const OpCase& op : AllOpCases(false)) {
    const auto report = RunOpCase(op, **device, **reference);
    ASSERT_TRUE(report.ok()) << op.op << ", " << op.what << ": " << report.status();
    EXPECT_TRUE(report->same_bits) << op.op << ", " << op.what;
    EXPECT_LE(report->error, op.error_limit) << op.op << ", " << op.what;
  }
}

TEST(PluginDevice, FormatsThatOnlyFilesHaveReachThePluginAsOneThatItKnows) {
  const auto device = CreateDevice({.name = std::string("plugin:") + BATON_PLAIN_CHIP});
  ASSERT_TRUE(device.ok()) << device.status();
  const DType dtype = StoredFormat::kQ3_K;  // its values fit int8 exactly
  std::vector<uint8_t> blocks(static_cast<size_t>(2 * BlockBytes(dtype)));
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<uint8_t>(i * 37);
  for (const int64_t block : {0, 1}) {
    const uint16_t scale = FloatToHalf(0.01f);
    std::memcpy(blocks.data() + block * BlockBytes(dtype) + 108, &scale, sizeof(scale));
  }
  const auto weight = (*device)->Prepare({dtype, 2, 256, blocks.data()});
  ASSERT_TRUE(weight.ok()) << weight.status();
  std::vector<float> row(256), expected(512);
  const int32_t id = 1;
  const absl::Status status =
      (*device)->Embed({weight->get(), {&id, 1}, MatrixView{row.data(), 1, 256, 256}});
  ASSERT_TRUE(status.ok()) << status;
  Dequantize(dtype, blocks.data(), 512, expected.data());
  EXPECT_EQ(row, std::vector<float>(expected.begin() + 256, expected.end()));
}

TEST(PluginDevice, OurOwnChipsPassTheSameSuite) {
  const auto reference = CreateDevice({.name = "cpu"});
  for (const char* name : {"p_chip", "d_chip"}) {
    const auto device = CreateDevice({.name = name, .threads = 2});
    for (const OpCase& op : AllOpCases(false)) {
      const auto report = RunOpCase(op, **device, **reference);
      ASSERT_TRUE(report.ok()) << op.op << ", " << op.what << ": " << report.status();
      EXPECT_TRUE(report->passed(op)) << name << ": " << op.op << ", " << op.what << ": error "
                                      << report->error << ", same bits " << report->same_bits;
    }
  }
}

TEST_F(FaultyChip, WhatItLacksTheReferenceComputesWithOneWarningThatNamesIt) {
  const auto device = Load();
  ASSERT_TRUE(device.ok()) << device.status();
  std::vector<float> table = {1, 2, 3, 4}, out(2);
  for (int i = 0; i < 3; ++i) {
    const int32_t row = 1;
    ASSERT_TRUE(
        (*device)
            ->GatherRows(
                {MatrixView{table.data(), 2, 2, 2}, {&row, 1}, MatrixView{out.data(), 1, 2, 2}})
            .ok());
    EXPECT_EQ(out, (std::vector<float>{3, 4}));
  }
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("gather_rows"));
}

TEST_F(FaultyChip, AFailureNamesTheOpAndGivesThePluginsText) {
  const auto device = Load();
  Fault("fail");
  const absl::Status status = Norm(**device);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rms_norm"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the chip is on fire"));
  unsetenv("BATON_FAULTY");
  EXPECT_TRUE(Norm(**device).ok()) << "a failure is not sticky";
}

TEST_F(FaultyChip, NonsenseIsRefusedWithItsPlace) {
  const auto device = Load();
  Fault("nan");
  const absl::Status status = Norm(**device);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rms_norm wrote nan in row 1, column 2"));
}

TEST_F(FaultyChip, AnotherVersionAndAHalfTableAreRefused) {
  Fault("version");
  EXPECT_THAT(std::string(Load().status().message()), HasSubstr("version 99"));
  Fault("incomplete");
  EXPECT_THAT(std::string(Load().status().message()), HasSubstr("not complete"));
  Fault("open");
  EXPECT_THAT(std::string(Load().status().message()), HasSubstr("no chip in the socket"));
}

using FaultyChipDeathTest = FaultyChip;

TEST_F(FaultyChipDeathTest, ACrashSaysWhichOpOfWhichPlugin) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        const auto device = Load();
        Fault("crash");
        Norm(**device).IgnoreError();
      },
      "plugin faulty crashed in rms_norm");
}

TEST_F(FaultyChipDeathTest, ACallThatDoesNotComeBackIsReportedAndEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        setenv("BATON_PLUGIN_TIMEOUT_MS", "200", 1);
        const auto device = Load();
        Fault("hang");
        Norm(**device).IgnoreError();
      },
      testing::ExitedWithCode(70), "plugin faulty hangs in rms_norm");
}

}  // namespace
}  // namespace baton::device
