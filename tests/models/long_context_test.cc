// A million positions: block tables, rotary tables and attention at 1,048,576, over a cache of
// random keys and values. The cache takes 96 MiB and the rotary table up to 192 MiB while it grows.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "device/device_factory.h"
#include "device/dtype.h"
#include "models/model_registry.h"
#include "tests/fakes/contiguous_kv.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/tiny_gguf.h"

namespace baton::models {
namespace {

constexpr int32_t kPositions = 1 << 20;
constexpr int32_t kStep = 3;

class LongContext : public testing::Test {
 protected:
  void SetUp() override {
    fakes::TinyModel model;
    model.type = GgmlType::kF32;
    model.layers = 1;
    model.hidden = 48;
    model.query_heads = 2;
    model.kv_heads = 1;
    model.head_dim = 24;
    model.vocab = 64;
    model.context = kPositions;
    model.tokenizer = false;
    path_ = folder_.Write("model.gguf", fakes::TinyGguf(model));
  }

  // Logits of the last kStep positions that there can be.
  std::vector<float> LastLogits(const std::string& chip) {
    const auto device = device::CreateDevice({.name = chip, .threads = 2});
    EXPECT_TRUE(device.ok()) << device.status();
    const auto model = LoadModel(path_, **device, {});
    EXPECT_TRUE(model.ok()) << model.status();
    const auto kv = fakes::ContiguousKv::Create(**device, (*model)->config(), 1, kPositions, 64,
                                                device::DType::kF16);
    EXPECT_TRUE(kv.ok()) << kv.status();
    Fill(kv->layers()[0]);
    const std::vector<int32_t> tokens = {5, 60, 7};
    ForwardBatch batch;
    batch.kv = kv->layers();
    batch.sequences.push_back({.tokens = tokens,
                               .position = kPositions - kStep,
                               .block_table = kv->table(0),
                               .logits = LogitRows::kAll});
    device::ConstMatrixView logits;
    const absl::Status status = (*model)->Forward(batch, &logits);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) return {};
    return std::vector<float>(logits.data, logits.data + logits.rows * logits.cols);
  }

  // The same numbers in every block but for where they begin.
  static void Fill(const device::PagedKvView& layer) {
    SeededRng rng(1);
    const size_t bytes = layer.geometry.BlockLayerBytes();
    std::vector<uint16_t> noise(bytes / 2 + 1024);
    for (uint16_t& half : noise) {
      half = device::FloatToHalf(static_cast<float>(rng.Next() >> 40) * 0x1p-22f - 2);
    }
    for (int32_t block = 0; block < layer.blocks; ++block) {
      std::memcpy(layer.keys(block), noise.data() + block % 1024, bytes);
    }
  }

  fakes::TempFolder folder_;
  std::string path_;
};

TEST_F(LongContext, AttentionOverAMillionKeysIsThatOfTheReference) {
  const std::vector<float> d_chip = LastLogits("d_chip");
  ASSERT_EQ(d_chip.size(), size_t{kStep * 64});
  EXPECT_EQ(LastLogits("p_chip"), d_chip);
  const std::vector<float> reference = LastLogits("cpu");
  ASSERT_EQ(reference.size(), d_chip.size());
  for (size_t i = 0; i < reference.size(); ++i) EXPECT_NEAR(d_chip[i], reference[i], 1e-3);
}

TEST_F(LongContext, OnePositionMoreIsRefused) {
  const auto device = device::CreateDevice({.name = "d_chip"});
  const auto model = LoadModel(path_, **device, {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto kv =
      fakes::ContiguousKv::Create(**device, (*model)->config(), 1, 64, 64, device::DType::kF16);
  ASSERT_TRUE(kv.ok()) << kv.status();
  const std::vector<int32_t> tokens = {5};
  ForwardBatch batch;
  batch.kv = kv->layers();
  batch.sequences.push_back(
      {.tokens = tokens, .position = kPositions, .block_table = kv->table(0)});
  device::ConstMatrixView logits;
  EXPECT_EQ((*model)->Forward(batch, &logits).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace baton::models
