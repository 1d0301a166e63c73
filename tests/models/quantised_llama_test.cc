// Quantised weights on the chips against the reference device, which multiplies the same
// dequantised weights in double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "device/device_factory.h"
#include "models/model_registry.h"
#include "tests/fakes/contiguous_kv.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/tiny_gguf.h"

namespace baton::models {
namespace {

constexpr int32_t kTokens = 200;

class QuantisedLlama : public testing::TestWithParam<GgmlType> {
 protected:
  // Logits of every position of a fixed prompt.
  std::vector<float> Logits(const std::string& device_name) {
    fakes::TinyModel tiny;
    tiny.type = GetParam();
    const std::string path = folder_.Write("model.gguf", fakes::TinyGguf(tiny));
    const auto device = device::CreateDevice({.name = device_name});
    EXPECT_TRUE(device.ok()) << device.status();
    const auto model = LoadModel(path, **device, {});
    EXPECT_TRUE(model.ok()) << model.status();
    const auto kv = fakes::ContiguousKv::Create(
        **device, (*model)->config(), 1, kTokens, 32,
        device_name == "cpu" ? device::DType::kF32 : device::DType::kF16);
    EXPECT_TRUE(kv.ok()) << kv.status();
    std::vector<int32_t> tokens(kTokens);
    SeededRng rng(7);
    for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Next() % tiny.vocab);
    ForwardBatch batch;
    batch.kv = kv->layers();
    batch.sequences.push_back(
        {.tokens = tokens, .block_table = kv->table(0), .logits = LogitRows::kAll});
    device::ConstMatrixView logits;
    EXPECT_TRUE((*model)->Forward(batch, &logits).ok());
    return std::vector<float>(logits.data, logits.data + logits.rows * logits.cols);
  }

  fakes::TempFolder folder_;
};

double Deviation(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(squares / static_cast<double>(a.size()));
}

// 8-bit activations with one scale for 32 values: the peak of 32 normal values is about 2.1
// deviations, so the step is 2.1 / 127 and the relative error of each input 2.1 / 127 / sqrt(12) =
// 0.0048. On the way to a logit of deviation 2.5 lie four such roundings in each of 4 layers (norm
// to q, k, v; attention to output; norm to gate and up; the product to down) and one before the
// logits: 2.5 * 0.0048 * sqrt(4 * 4 + 1) = 0.05, to which every layer may add what it amplifies.
TEST_P(QuantisedLlama, LogitsOnTheChipsAreCloseToTheReference) {
  const std::vector<float> reference = Logits("cpu");
  ASSERT_EQ(reference.size(), static_cast<size_t>(kTokens) * 1024);
  EXPECT_GT(Deviation(reference, std::vector<float>(reference.size(), 0)), 1.0);
  for (const std::string name : {"p_chip", "d_chip"}) {
    const std::vector<float> logits = Logits(name);
    ASSERT_EQ(logits.size(), reference.size());
    const double deviation = Deviation(logits, reference);
    RecordProperty(absl::StrCat("deviation_", name), absl::StrCat(deviation));
    EXPECT_LE(deviation, 0.1) << name;
    // Where the reference is sure, the chips choose the same token.
    for (int32_t t = 0; t < kTokens; ++t) {
      const float* row = &reference[size_t(t) * 1024];
      const auto best = std::max_element(row, row + 1024) - row;
      std::vector<float> others(row, row + 1024);
      others[best] = -1e30f;
      if (row[best] - *std::max_element(others.begin(), others.end()) < 1.0f) continue;
      const float* had = &logits[size_t(t) * 1024];
      EXPECT_EQ(std::max_element(had, had + 1024) - had, best) << name << " token " << t;
    }
  }
}

std::string NameOf(const testing::TestParamInfo<GgmlType>& info) {
  return GgmlTypeName(info.param);
}

INSTANTIATE_TEST_SUITE_P(Types, QuantisedLlama,
                         testing::Values(GgmlType::kQ4_1, GgmlType::kQ4_0, GgmlType::kQ8_0),
                         NameOf);

}  // namespace
}  // namespace baton::models
