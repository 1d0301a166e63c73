// Four-bit matrices of AWQ and GPTQ have the values that an independent packer put into them
// (int4/make_int4.py), and what cannot be read is refused by name.
#include "models/int4_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "device/cpu_reference/dequantize.h"
#include "device/device_factory.h"
#include "models/weight_loader.h"

namespace baton::models {
namespace {

using testing::HasSubstr;

constexpr int64_t kRows = 16, kCols = 128;

std::string Folder(const std::string& name) {
  return absl::StrCat(BATON_TEST_DATA, "/models/int4/", name);
}

class Int4Test : public testing::TestWithParam<const char*> {};

TEST_P(Int4Test, ValuesAreThoseThatWerePacked) {
  const auto checkpoint = Checkpoint::Open(Folder(GetParam()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_TRUE(IsInt4(**checkpoint, "w"));
  const auto matrix = ReadInt4(**checkpoint, "w", kRows, kCols);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  const auto expected = (*checkpoint)->Get("values");
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_EQ(device::Dequantize(matrix->stored()), device::Dequantize(*expected));
  const bool in_order = std::string(GetParam()) != "gptq_act_order";
  EXPECT_EQ(matrix->dtype, in_order ? device::StoredFormat::kInt4Zero : device::DType::kF32);
}

TEST_P(Int4Test, AChipTakesTheMatrixAndTheLoaderCountsItsTensors) {
  const auto checkpoint = Checkpoint::Open(Folder(GetParam()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto chip = device::CreateDevice({.name = "d_chip"});
  ASSERT_TRUE(chip.ok()) << chip.status();
  const std::function<void(float)> quiet;
  WeightLoader loader(**checkpoint, **chip, quiet);
  const auto weight = loader.Matrix("w.weight", kRows, kCols);
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ((*weight)->rows(), kRows);
  const auto floats = loader.Floats("values", kRows, kCols);
  ASSERT_TRUE(floats.ok()) << floats.status();
  EXPECT_TRUE(loader.CheckAllTaken({}, {}).ok()) << loader.CheckAllTaken({}, {});
}

INSTANTIATE_TEST_SUITE_P(Formats, Int4Test,
                         testing::Values("awq", "gptq", "gptq_v2", "gptq_act_order"),
                         [](const auto& info) { return std::string(info.param); });

// The message about a checkpoint whose config.json has `from` replaced by `to`.
std::string Refusal(const std::string& name, const std::string& from, const std::string& to,
                    int64_t rows = kRows) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/int4_refused");
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(Folder(name) + "/model.safetensors", folder + "/model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  std::ifstream in(Folder(name) + "/config.json");
  std::string config{std::istreambuf_iterator<char>(in), {}};
  EXPECT_THAT(config, HasSubstr(from));
  std::ofstream(folder + "/config.json") << absl::StrReplaceAll(config, {{from, to}});
  const auto checkpoint = Checkpoint::Open(folder);
  if (!checkpoint.ok()) return std::string(checkpoint.status().message());
  const auto matrix = ReadInt4(**checkpoint, "w", rows, kCols);
  return std::string(matrix.status().message());
}

TEST(Int4Checkpoint, WhatCannotBeReadIsNamed) {
  EXPECT_THAT(Refusal("awq", "\"bits\": 4", "\"bits\": 8"), HasSubstr("quantization_config.bits"));
  EXPECT_THAT(Refusal("awq", "\"gemm\"", "\"gemv\""), HasSubstr("readable is \"gemm\""));
  EXPECT_THAT(Refusal("awq", "\"quant_method\": \"awq\"", "\"quant_method\": \"hqq\""),
              HasSubstr("quantization_config.quant_method"));
  EXPECT_THAT(Refusal("awq", "\"group_size\": 64", "\"group_size\": 96"),
              HasSubstr("quantization_config.group_size"));
  EXPECT_THAT(Refusal("awq", "\"group_size\": 64", "\"group_size\": 32"),
              HasSubstr("'w.qzeros' is I32 of shape [2, 2], needed I32 of shape [4, 2]"));
  EXPECT_THAT(Refusal("gptq_v2", "\"gptq_v2\"", "\"marlin\""), HasSubstr("checkpoint_format"));
  EXPECT_THAT(Refusal("gptq", "gptq", "gptq", 24), HasSubstr("'w.qweight' is I32"));
  EXPECT_THAT(Refusal("gptq", "gptq", "gptq", 12), HasSubstr("multiples of 8"));
}

}  // namespace
}  // namespace baton::models
