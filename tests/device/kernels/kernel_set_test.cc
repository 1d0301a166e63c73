// The choice of an ISA level: the best by default, any lower one by name, clear words otherwise.
#include "device/kernels/kernel_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "device/device_factory.h"

namespace baton::device::kernels {
namespace {

using testing::HasSubstr;

class KernelSet : public testing::Test {
 protected:
  void SetUp() override {
    const char* old = std::getenv("BATON_ISA");
    if (old != nullptr) old_ = old;
    unsetenv("BATON_ISA");
  }
  void TearDown() override {
    old_.empty() ? unsetenv("BATON_ISA") : setenv("BATON_ISA", old_.c_str(), 1);
  }

 private:
  std::string old_;
};

TEST_F(KernelSet, ScalarIsAlwaysThereAndLast) { EXPECT_EQ(AvailableIsaLevels().back(), "scalar"); }

TEST_F(KernelSet, TheBestLevelIsTheDefault) {
  EXPECT_EQ((*ChooseKernels(""))->isa, AvailableIsaLevels().front());
}

TEST_F(KernelSet, EveryAvailableLevelCanBeForced) {
  for (const std::string& isa : AvailableIsaLevels()) EXPECT_EQ((*ChooseKernels(isa))->isa, isa);
}

TEST_F(KernelSet, TheEnvironmentDecidesWhereNothingIsAsked) {
  setenv("BATON_ISA", "scalar", 1);
  EXPECT_STREQ((*ChooseKernels(""))->isa, "scalar");
  const std::string best = AvailableIsaLevels().front();
  EXPECT_EQ((*ChooseKernels(best))->isa, best);
  setenv("BATON_ISA", "", 1);
  EXPECT_EQ((*ChooseKernels(""))->isa, best);
}

TEST_F(KernelSet, AnUnknownLevelNamesTheKnownOnes) {
  const absl::Status status = ChooseKernels("sse9").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("sse9"), HasSubstr("scalar"), HasSubstr("avx2")));
}

TEST_F(KernelSet, ALevelThatTheCpuLacksNamesTheAvailableOnes) {
  for (const std::string isa : {"avx2", "avxvnni", "avx512vnni", "amx"}) {
    const std::vector<std::string> available = AvailableIsaLevels();
    if (std::find(available.begin(), available.end(), isa) != available.end()) continue;
    const absl::Status status = ChooseKernels(isa).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("scalar"));
  }
}

TEST_F(KernelSet, ADeviceSaysWhatItChose) {
  for (const std::string name : {"p_chip", "d_chip"}) {
    const auto device = CreateDevice({.name = name, .threads = 2, .isa = "scalar"});
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_EQ((*device)->description(), name + ": scalar, 2 threads");
    EXPECT_EQ(CreateDevice({.name = name, .isa = "mmx"}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace baton::device::kernels
