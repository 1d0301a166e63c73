// Configurations of both formats: what is read, and what is refused by name instead of being
// computed wrongly.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "models/llama.h"
#include "models/model_registry.h"
#include "tests/fakes/gguf_writer.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/tiny_gguf.h"

namespace baton::models {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class GgufConfig : public testing::Test {
 protected:
  absl::StatusOr<ModelConfig> Read(const fakes::TinyModel& model) {
    return ReadModelConfig(folder_.Write("model.gguf", fakes::TinyGguf(model)));
  }
  std::string ErrorWith(std::function<void(fakes::GgufWriter&)> extra) {
    fakes::TinyModel model;
    model.extra = std::move(extra);
    return Error(model);
  }
  std::string Error(const fakes::TinyModel& model) {
    const absl::Status status = Read(model).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("model.gguf"));
    return std::string(status.message());
  }
  fakes::TempFolder folder_;
};

TEST_F(GgufConfig, T0IsReadAsItWasWritten) {
  const auto config = Read({});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "llama");
  EXPECT_EQ(config->name, "T0 seed 1");
  EXPECT_EQ(config->layers, 4);
  EXPECT_EQ(config->hidden, 64);
  EXPECT_EQ(config->query_heads, 4);
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->intermediate, 160);
  EXPECT_EQ(config->vocab_size, 1024);
  EXPECT_EQ(config->context_length, 4096);
  EXPECT_FALSE(config->tied_embeddings);
  EXPECT_EQ(config->rope.rotary_dim, 16);
  EXPECT_EQ(config->rope.style, device::RopeStyle::kInterleaved);
  EXPECT_THAT(config->eos_ids, ElementsAre(2));
}

TEST_F(GgufConfig, TheFingerprintTellsModelsApart) {
  const uint64_t one = Read({})->fingerprint;
  EXPECT_EQ(Read({})->fingerprint, one);
  EXPECT_NE(Read({.seed = 2})->fingerprint, one);
  EXPECT_NE(Read({.context = 2048})->fingerprint, one);
  // A change of weights alone.
  std::string bytes = fakes::TinyGguf({});
  bytes.back() ^= 1;
  EXPECT_NE(ReadModelConfig(folder_.Write("model.gguf", bytes))->fingerprint, one);
}

TEST_F(GgufConfig, DegenerateShapesAreRefused) {
  EXPECT_THAT(Error({.layers = 0}), HasSubstr("'llama.block_count' is 0"));
  EXPECT_THAT(Error({.kv_heads = 3}), HasSubstr("multiple of the number of KV heads, 3"));
  EXPECT_THAT(Error({.type = GgmlType::kF32, .head_dim = 15}), HasSubstr("head dimension is 15"));
  EXPECT_THAT(Error({.context = 0}), HasSubstr("'llama.context_length' is 0"));
  EXPECT_THAT(Error({.norm_epsilon = std::numeric_limits<float>::quiet_NaN()}),
              HasSubstr("epsilon of the norm is nan"));
  EXPECT_THAT(Error({.norm_epsilon = 0}), HasSubstr("epsilon of the norm is 0"));
}

TEST_F(GgufConfig, CountsOfZeroAndOfFourBillionAreRefusedByKey) {
  const std::string bytes = fakes::TinyGguf({});
  for (const std::string key :
       {"llama.block_count", "llama.context_length", "llama.vocab_size", "llama.embedding_length",
        "llama.feed_forward_length", "llama.attention.head_count", "llama.attention.head_count_kv",
        "llama.attention.key_length", "llama.rope.dimension_count"}) {
    for (const uint32_t count : {0u, 0xFFFFFFFFu}) {
      std::string damaged = bytes;
      const size_t value = damaged.find(key) + key.size() + sizeof(uint32_t);  // after the type
      std::memcpy(&damaged[value], &count, sizeof(count));
      const absl::Status status = ReadModelConfig(folder_.Write("model.gguf", damaged)).status();
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr(absl::StrCat("'", key, "' is ", count, ", allowed are 1 to")));
    }
  }
}

TEST_F(GgufConfig, WhatCannotBeComputedIsRefusedByName) {
  EXPECT_THAT(ErrorWith([](auto& writer) { writer.AddUint("llama.expert_count", 8); }),
              HasSubstr("'llama.expert_used_count' is missing"));
  EXPECT_THAT(ErrorWith([](auto& writer) { writer.AddBool("llama.attention.causal", false); }),
              HasSubstr("'llama.attention.causal' is false, only true"));
  EXPECT_THAT(ErrorWith([](auto& writer) { writer.AddFloat("llama.logit_scale", 2); }),
              HasSubstr("'llama.logit_scale'"));
  EXPECT_THAT(
      ErrorWith([](auto& writer) { writer.AddString("llama.rope.scaling.type", "longrope"); }),
      HasSubstr("is \"longrope\", but there is no tensor 'rope_factors_long.weight'"));
  EXPECT_THAT(
      ErrorWith([](auto& writer) { writer.AddString("llama.rope.scaling.type", "dynamic"); }),
      HasSubstr("'llama.rope.scaling.type' is \"dynamic\", allowed are"));
  EXPECT_THAT(ErrorWith([](auto& writer) {
                writer.AddTensor("rope_freqs.weight", {7}, GgmlType::kF32, std::string(28, '\1'));
              }),
              HasSubstr("rope frequency factors are 7, needed 8"));
}

TEST_F(GgufConfig, RopeScalingIsRead) {
  fakes::TinyModel model;
  model.extra = [](fakes::GgufWriter& writer) {
    writer.AddString("llama.rope.scaling.type", "yarn");
    writer.AddFloat("llama.rope.scaling.factor", 4);
    writer.AddUint("llama.rope.scaling.original_context_length", 1024);
  };
  const auto config = Read(model);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope.scaling, RopeConfig::Scaling::kYarn);
  EXPECT_EQ(config->rope.factor, 4);
  EXPECT_EQ(config->rope.original_context, 1024);
}

// llama.cpp has one architecture for three families.
TEST_F(GgufConfig, AWindowMakesAMistral) {
  fakes::TinyModel model;
  model.extra = [](auto& writer) { writer.AddUint("llama.attention.sliding_window", 64); };
  const auto config = Read(model);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "mistral");
}

TEST_F(GgufConfig, AnUnknownArchitectureListsTheKnownOnes) {
  fakes::GgufWriter writer;
  writer.AddString("general.architecture", "clip");
  const absl::Status status = ReadModelConfig(folder_.Write("x.gguf", writer.Bytes())).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("architecture is 'clip', known are: llama"));
  EXPECT_THAT(KnownArchitectures(), testing::Contains("llama"));
}

class HfFolder : public testing::Test {
 protected:
  void SetUp() override {
    const std::string golden = absl::StrCat(BATON_TEST_DATA, "/golden/llama3_tied");
    config_ = json::parse(std::ifstream(golden + "/config.json"));
    std::filesystem::copy_file(golden + "/model.safetensors",
                               folder_.path() + "/model.safetensors");
  }
  absl::StatusOr<ModelConfig> Read() {
    folder_.Write("config.json", config_.dump());
    return ReadModelConfig(folder_.path());
  }
  // The error of a config.json in which `key` has another value.
  std::string ErrorWith(const std::string& key, const json& value) {
    const json before = config_;
    config_[key] = value;
    const absl::Status status = Read().status();
    config_ = before;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    return std::string(status.message());
  }
  json config_;
  fakes::TempFolder folder_;
};

TEST_F(HfFolder, AConfigJsonIsRead) {
  const auto config = Read();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->rope.style, device::RopeStyle::kHalf);
  EXPECT_EQ(config->rope.scaling, RopeConfig::Scaling::kLlama3);
  EXPECT_EQ(config->rope.factor, 32);
  EXPECT_EQ(config->rope.original_context, 64);
  EXPECT_EQ(config->rope.base, 500000);
  EXPECT_THAT(config->eos_ids, ElementsAre(2));
}

TEST_F(HfFolder, RopeParametersMeanWhatRopeScalingMeans) {
  const ModelConfig older = *Read();
  config_["rope_parameters"] = config_["rope_scaling"];
  config_["rope_parameters"]["rope_theta"] = config_["rope_theta"];
  config_.erase("rope_scaling");
  config_.erase("rope_theta");
  const auto newer = Read();
  ASSERT_TRUE(newer.ok()) << newer.status();
  EXPECT_EQ(newer->rope.scaling, older.rope.scaling);
  EXPECT_EQ(newer->rope.factor, older.rope.factor);
  EXPECT_EQ(newer->rope.base, older.rope.base);
  EXPECT_EQ(newer->rope.original_context, older.rope.original_context);
}

TEST_F(HfFolder, OptionalFieldsHaveTheDefaultsOfTransformers) {
  for (const char* key : {"head_dim", "rope_scaling", "rope_theta", "attention_bias", "mlp_bias",
                          "tie_word_embeddings", "eos_token_id"}) {
    config_.erase(key);
  }
  const auto config = Read();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->rope.base, 10000);
  EXPECT_FALSE(config->tied_embeddings);
  EXPECT_TRUE(config->eos_ids.empty());
}

TEST_F(HfFolder, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  EXPECT_THAT(ErrorWith("model_type", "mamba"), HasSubstr("architecture is 'mamba', known are"));
  EXPECT_THAT(ErrorWith("hidden_act", "gelu"), HasSubstr("hidden_act is \"gelu\""));
  EXPECT_THAT(ErrorWith("sliding_window", 4096), HasSubstr("sliding_window is 4096"));
  EXPECT_THAT(ErrorWith("quantization_config", {{"bits", 4}}), HasSubstr("quantization_config"));
  EXPECT_THAT(ErrorWith("mlp_bias", true), HasSubstr("mlp_bias is true"));
  EXPECT_THAT(ErrorWith("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}),
              HasSubstr("rope_scaling.rope_type is \"dynamic\""));
  EXPECT_THAT(ErrorWith("rope_scaling", {{"rope_type", "linear"}}),
              HasSubstr("rope_scaling.factor is missing"));
  EXPECT_THAT(ErrorWith("rope_scaling", 7), HasSubstr("rope_scaling is 7, needed an object"));
}

TEST_F(HfFolder, DegenerateNumbersAreRefusedByField) {
  EXPECT_THAT(ErrorWith("head_dim", 15), HasSubstr("head dimension is 15"));
  EXPECT_THAT(ErrorWith("num_attention_heads", 0), HasSubstr("num_attention_heads is 0"));
  EXPECT_THAT(ErrorWith("num_key_value_heads", 3), HasSubstr("multiple of the number of KV heads"));
  EXPECT_THAT(ErrorWith("num_hidden_layers", -1), HasSubstr("num_hidden_layers is -1"));
  EXPECT_THAT(ErrorWith("num_hidden_layers", "3"), HasSubstr("num_hidden_layers is \"3\""));
  EXPECT_THAT(ErrorWith("vocab_size", 1e300), HasSubstr("vocab_size is 1e+300"));
  EXPECT_THAT(ErrorWith("rms_norm_eps", -1e-5), HasSubstr("epsilon of the norm"));
  EXPECT_THAT(ErrorWith("rope_theta", 0), HasSubstr("rope base is 0"));
  EXPECT_THAT(ErrorWith("hidden_size", nullptr), HasSubstr("hidden_size is missing"));
}

TEST_F(HfFolder, BrokenFoldersAreRefusedByFile) {
  folder_.Write("config.json", "{\"model_type\":");
  EXPECT_THAT(std::string(ReadModelConfig(folder_.path()).status().message()),
              HasSubstr("config.json"));
  std::filesystem::remove(folder_.path() + "/model.safetensors");
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("has neither model.safetensors"));
  folder_.Write("model.safetensors.index.json", R"({"weight_map":{"a":"../secret"}})");
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("needs a plain file name"));
  folder_.Write("model.safetensors.index.json", R"({"weight_map":{"a":"none.safetensors"}})");
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kNotFound);
  std::filesystem::remove(folder_.path() + "/config.json");
  EXPECT_EQ(ReadModelConfig(folder_.path()).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace baton::models
