// Loading and running: what is refused, what is reported, and in which order things happen.
#include "models/llama.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "device/device_factory.h"
#include "models/model_registry.h"
#include "tests/fakes/contiguous_kv.h"
#include "tests/fakes/gguf_writer.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/tiny_gguf.h"

namespace baton::models {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

fakes::TinyModel Small() {
  fakes::TinyModel model;
  model.type = GgmlType::kF32;
  model.layers = 2;
  model.vocab = 300;
  model.context = 64;
  model.tokenizer = false;
  return model;
}

class Llama : public testing::Test {
 protected:
  void SetUp() override {
    auto device = device::CreateDevice({.name = "cpu"});
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
  }

  absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& bytes, LoadOptions options = {}) {
    return LoadModel(folder_.Write("model.gguf", bytes), *device_, options);
  }
  std::string LoadError(const fakes::TinyModel& model) {
    const auto loaded = Load(fakes::TinyGguf(model));
    EXPECT_FALSE(loaded.ok());
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("model.gguf"));
    return std::string(loaded.status().message());
  }
  // Logits after the last of `tokens`, from an empty cache.
  std::vector<float> LastLogits(Model& model, const std::vector<int32_t>& tokens) {
    const auto kv =
        fakes::ContiguousKv::Create(*device_, model.config(), 1, 64, 16, device::DType::kF32);
    EXPECT_TRUE(kv.ok()) << kv.status();
    ForwardBatch batch;
    batch.kv = kv->layers();
    batch.sequences.push_back({.tokens = tokens, .block_table = kv->table(0)});
    device::ConstMatrixView logits;
    const absl::Status status = model.Forward(batch, &logits);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) return {};
    return std::vector<float>(logits.row(0), logits.row(0) + logits.cols);
  }

  fakes::TempFolder folder_;
  std::unique_ptr<device::Device> device_;
};

TEST_F(Llama, ProgressRisesToOne) {
  std::vector<float> fractions;
  LoadOptions options;
  options.on_progress = [&](float fraction) { fractions.push_back(fraction); };
  ASSERT_TRUE(Load(fakes::TinyGguf(Small()), options).ok());
  ASSERT_GT(fractions.size(), 10u);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_GT(fractions.front(), 0.0f);
  EXPECT_EQ(fractions.back(), 1.0f);
}

TEST_F(Llama, EveryLayerIsReportedOnceItsKeysAndValuesAreWritten) {
  const auto model = *Load(fakes::TinyGguf(Small()));
  const auto kv =
      *fakes::ContiguousKv::Create(*device_, model->config(), 1, 16, 16, device::DType::kF32);
  const auto written = [&](int32_t layer) {
    const device::PagedKvView& view = kv.layers()[layer];
    const uint8_t* bytes = view.keys(kv.table(0)[0]);
    return std::any_of(bytes, bytes + view.geometry.BlockLayerBytes(),
                       [](uint8_t byte) { return byte != 0; });
  };
  const std::vector<int32_t> tokens = {1, 2, 3};
  std::vector<int32_t> layers;
  ForwardBatch batch;
  batch.kv = kv.layers();
  batch.sequences.push_back(
      {.tokens = tokens, .block_table = kv.table(0), .logits = LogitRows::kNone});
  batch.on_layer_written = [&](int32_t layer) {
    layers.push_back(layer);
    EXPECT_TRUE(written(layer));
    EXPECT_EQ(written(1), layer == 1);
  };
  device::ConstMatrixView logits;
  ASSERT_TRUE(model->Forward(batch, &logits).ok());
  EXPECT_THAT(layers, ElementsAre(0, 1));
  EXPECT_EQ(logits.rows, 0);
}

TEST_F(Llama, StepsThatTheModelCannotTakeAreRefusedByName) {
  const auto model = *Load(fakes::TinyGguf(Small()), {.max_batch_tokens = 8});
  const auto kv =
      *fakes::ContiguousKv::Create(*device_, model->config(), 1, 64, 16, device::DType::kF32);
  const auto error = [&](const std::vector<int32_t>& tokens, int64_t position) {
    ForwardBatch batch;
    batch.kv = kv.layers();
    batch.sequences.push_back({.tokens = tokens, .position = position, .block_table = kv.table(0)});
    device::ConstMatrixView logits;
    const absl::Status status = model->Forward(batch, &logits);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error({300}, 0), HasSubstr("token 300 is outside the vocabulary of 300"));
  EXPECT_THAT(error({-1}, 0), HasSubstr("token -1"));
  EXPECT_THAT(error({1}, 64), HasSubstr("beyond the context of 64"));
  EXPECT_THAT(error({1}, INT64_MAX), HasSubstr("beyond the context of 64"));
  EXPECT_THAT(error({1}, -1), HasSubstr("beyond the context"));
  EXPECT_THAT(error(std::vector<int32_t>(9, 1), 0), HasSubstr("9 tokens, allowed are 8"));
  EXPECT_THAT(error({}, 0), HasSubstr("without tokens"));
  device::ConstMatrixView logits;
  EXPECT_THAT(std::string(model->Forward({}, &logits).message()), HasSubstr("empty"));
  ForwardBatch no_kv;
  const std::vector<int32_t> one = {1};
  no_kv.sequences.push_back({.tokens = one, .block_table = kv.table(0)});
  EXPECT_THAT(std::string(model->Forward(no_kv, &logits).message()), HasSubstr("kv has 0 layers"));
  ForwardBatch short_table = no_kv;
  short_table.kv = kv.layers();
  short_table.sequences[0].position = 40;
  short_table.sequences[0].block_table = kv.table(0).subspan(0, 2);
  EXPECT_EQ(model->Forward(short_table, &logits).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Llama, TheContextCanBeMadeShorterButNotLonger) {
  EXPECT_EQ((*Load(fakes::TinyGguf(Small()), {.max_context = 10}))->config().context_length, 10);
  EXPECT_EQ((*Load(fakes::TinyGguf(Small()), {.max_context = 999}))->config().context_length, 64);
  EXPECT_FALSE(Load(fakes::TinyGguf(Small()), {.max_context = -1}).ok());
  EXPECT_FALSE(Load(fakes::TinyGguf(Small()), {.max_batch_tokens = 0}).ok());
}

TEST_F(Llama, TensorsThatTheConfigurationDoesNotCallForAreRefused) {
  fakes::TinyModel model = Small();
  model.extra = [](fakes::GgufWriter& writer) {
    writer.AddTensor("blk.0.attn_q_norm.weight", {16}, GgmlType::kF32, std::string(64, '\0'));
  };
  EXPECT_THAT(LoadError(model), HasSubstr("'blk.0.attn_q_norm.weight' is none that"));
  model.extra = [](fakes::GgufWriter& writer) {  // a bias in layer 0 only
    writer.AddTensor("blk.0.attn_k.bias", {32}, GgmlType::kF32, std::string(128, '\0'));
  };
  EXPECT_THAT(LoadError(model), HasSubstr("has no tensor 'blk.0.attn_q.bias'"));
}

TEST_F(Llama, ATensorOfAnotherShapeIsNamedWithBothShapes) {
  fakes::TinyModel model = Small();
  model.tied = true;
  model.extra = [](fakes::GgufWriter& writer) {
    writer.AddTensor("output.weight", {64, 299}, GgmlType::kF32, std::string(64 * 299 * 4, '\0'));
  };
  EXPECT_THAT(LoadError(model),
              HasSubstr("'output.weight' is [299, 64], the configuration needs [300, 64]"));
}

TEST_F(Llama, ATensorTypeThatCannotBeReadIsNamed) {
  fakes::TinyModel model = Small();
  model.tied = true;
  model.extra = [](fakes::GgufWriter& writer) {
    writer.AddTensor("output.weight", {256, 75}, static_cast<GgmlType>(18), std::string(32, '\0'));
  };
  EXPECT_THAT(LoadError(model), HasSubstr("'output.weight' is of type IQ3_XXS"));
}

TEST_F(Llama, BiasesOfAttentionAreAdded) {
  const std::vector<int32_t> tokens = {5, 6, 7};
  fakes::TinyModel with = Small();
  with.biases = true;
  const auto plain = *Load(fakes::TinyGguf(Small()));
  const auto biased = *Load(fakes::TinyGguf(with));
  EXPECT_NE(LastLogits(*plain, tokens), LastLogits(*biased, tokens));
}

TEST_F(Llama, FrequencyFactorsOfOneChangeNothingAndOthersDo) {
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9};
  const auto with_factor = [&](float factor) {
    fakes::TinyModel model = Small();
    model.extra = [factor](fakes::GgufWriter& writer) {
      writer.AddTensor("rope_freqs.weight", {8}, GgmlType::kF32,
                       fakes::Encode(GgmlType::kF32, std::vector<float>(8, factor)));
    };
    return LastLogits(**Load(fakes::TinyGguf(model)), tokens);
  };
  const auto plain = LastLogits(**Load(fakes::TinyGguf(Small())), tokens);
  EXPECT_EQ(with_factor(1.0f), plain);
  EXPECT_NE(with_factor(4.0f), plain);
}

TEST_F(Llama, LogitsSurviveAGrowingNumberOfRows) {
  const auto model = *Load(fakes::TinyGguf(Small()));
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9, 10, 11};
  const std::vector<float> before = LastLogits(*model, tokens);
  const auto kv =
      *fakes::ContiguousKv::Create(*device_, model->config(), 1, 16, 16, device::DType::kF32);
  ForwardBatch batch;
  batch.kv = kv.layers();
  batch.sequences.push_back(
      {.tokens = tokens, .block_table = kv.table(0), .logits = LogitRows::kAll});
  device::ConstMatrixView logits;
  ASSERT_TRUE(model->Forward(batch, &logits).ok());
  ASSERT_EQ(logits.rows, 7);
  EXPECT_EQ(std::vector<float>(logits.row(6), logits.row(6) + logits.cols), before);
}

}  // namespace
}  // namespace baton::models
