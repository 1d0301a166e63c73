// Configurations of the mixtures of experts: what is refused by field and value instead of being
// computed wrongly.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "models/model_registry.h"
#include "tests/fakes/temp_folder.h"

namespace baton::models {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// A golden checkpoint whose config.json the test changes.
class Folder {
 public:
  explicit Folder(const std::string& family) {
    const std::string golden = absl::StrCat(BATON_TEST_DATA, "/golden/", family);
    std::ifstream(golden + "/config.json") >> config_;
    std::filesystem::create_symlink(golden + "/model.safetensors",
                                    folder_.path() + "/model.safetensors");
  }
  absl::StatusOr<ModelConfig> Read() const {
    folder_.Write("config.json", config_.dump());
    return ReadModelConfig(folder_.path());
  }
  // The error of a config.json in which `key` has another value; null counts as absent.
  std::string ErrorWith(const std::string& key, const json& value) {
    const json before = config_;
    config_[key] = value;
    const absl::Status status = Read().status();
    config_ = before;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    return std::string(status.message());
  }
  json& config() { return config_; }

 private:
  json config_;
  fakes::TempFolder folder_;
};

TEST(MixtralConfig, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  Folder folder("mixtral");
  ASSERT_TRUE(folder.Read().ok());
  EXPECT_THAT(folder.ErrorWith("hidden_act", "gelu"), HasSubstr("hidden_act is \"gelu\""));
  EXPECT_THAT(folder.ErrorWith("num_local_experts", 0), HasSubstr("num_local_experts is 0"));
  EXPECT_THAT(folder.ErrorWith("num_local_experts", nullptr),
              HasSubstr("num_local_experts is missing"));
  EXPECT_THAT(folder.ErrorWith("num_experts_per_tok", 9),
              HasSubstr("num_experts_per_tok is 9, allowed are 1 to 8"));
  EXPECT_THAT(folder.ErrorWith("sliding_window", 0), HasSubstr("sliding_window is 0"));
  EXPECT_THAT(folder.ErrorWith("quantization_config", {{"quant_method", "bitsandbytes"}}),
              HasSubstr("quantization_config.quant_method is \"bitsandbytes\""));
}

TEST(Qwen3MoeConfig, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  Folder folder("qwen3_moe");
  ASSERT_TRUE(folder.Read().ok());
  EXPECT_THAT(folder.ErrorWith("use_sliding_window", true),
              HasSubstr("use_sliding_window is true"));
  EXPECT_THAT(folder.ErrorWith("decoder_sparse_step", 0), HasSubstr("decoder_sparse_step is 0"));
  EXPECT_THAT(folder.ErrorWith("mlp_only_layers", "all"), HasSubstr("mlp_only_layers is \"all\""));
  EXPECT_THAT(folder.ErrorWith("moe_intermediate_size", -1),
              HasSubstr("moe_intermediate_size is -1"));
}

TEST(GptOssConfig, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  Folder folder("gpt_oss_mxfp4");
  ASSERT_TRUE(folder.Read().ok());
  EXPECT_THAT(folder.ErrorWith("layer_types", {"full_attention"}),
              HasSubstr("layer_types is [\"full_attention\"], needed one for each of 3 layers"));
  EXPECT_THAT(folder.ErrorWith("layer_types", {"full_attention", "linear", "full_attention"}),
              HasSubstr("allowed are \"sliding_attention\" and \"full_attention\""));
  EXPECT_THAT(folder.ErrorWith("sliding_window", 0), HasSubstr("sliding_window is 0"));
  EXPECT_THAT(folder.ErrorWith("swiglu_limit", -7), HasSubstr("swiglu_limit is -7"));
  EXPECT_THAT(folder.ErrorWith("intermediate_size", 72), HasSubstr("intermediate_size is 72"));
  EXPECT_THAT(folder.ErrorWith("quantization_config", {{"quant_method", "fp8"}}),
              HasSubstr("quantization_config.quant_method is \"fp8\""));
}

TEST(DeepseekConfig, TheCachedRowIsRotatedPartAndLatent) {
  Folder folder("deepseek_v3");
  const auto config = folder.Read();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->kv_heads, 1);
  EXPECT_EQ(config->head_dim, 16 + 32);
  EXPECT_EQ(config->kv_latent_dim, 32);
  EXPECT_EQ(config->rope.rotary_dim, 16);
  EXPECT_EQ(config->rope.style, device::RopeStyle::kInterleaved);
}

TEST(DeepseekConfig, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  for (const std::string family : {"deepseek_v2", "deepseek_v3", "kimi_k2"}) {
    Folder folder(family);
    ASSERT_TRUE(folder.Read().ok()) << family;
    EXPECT_THAT(folder.ErrorWith("scoring_func", "tanh"), HasSubstr("scoring_func is \"tanh\""));
    EXPECT_THAT(folder.ErrorWith("topk_method", "random"), HasSubstr("topk_method is \"random\""));
    EXPECT_THAT(folder.ErrorWith("attention_bias", true), HasSubstr("attention_bias is true"));
    EXPECT_THAT(folder.ErrorWith("moe_layer_freq", 2), HasSubstr("moe_layer_freq is 2"));
    EXPECT_THAT(folder.ErrorWith("num_key_value_heads", 1), HasSubstr("num_key_value_heads is 1"));
    EXPECT_THAT(folder.ErrorWith("kv_lora_rank", nullptr), HasSubstr("kv_lora_rank is missing"));
    EXPECT_THAT(folder.ErrorWith("qk_rope_head_dim", 15),
                HasSubstr("qk_rope_head_dim is 15, needed an even number"));
    EXPECT_THAT(folder.ErrorWith("num_nextn_predict_layers", 99),
                HasSubstr("num_nextn_predict_layers is 99"));
  }
  Folder v2("deepseek_v2");
  EXPECT_THAT(v2.ErrorWith("norm_topk_prob", true), HasSubstr("norm_topk_prob is true"));
  v2.config()["topk_method"] = "group_limited_greedy";
  EXPECT_THAT(v2.ErrorWith("n_group", 3), HasSubstr("n_group is 3, needed a divisor of the 8"));
  EXPECT_THAT(v2.ErrorWith("topk_group", 2), HasSubstr("topk_group is 2, allowed are 1 to 1"));
  Folder v3("deepseek_v3");
  EXPECT_THAT(v3.ErrorWith("num_experts_per_tok", 9), HasSubstr("allowed are 1 to 8"));
  EXPECT_THAT(v3.ErrorWith("quantization_config", {{"quant_method", "fp8"}, {"fmt", "e5m2"}}),
              HasSubstr("quantization_config.fmt is \"e5m2\""));
  EXPECT_THAT(v3.ErrorWith("quantization_config", {{"quant_method", "fp8"}}),
              HasSubstr("quantization_config.weight_block_size is missing"));
}

}  // namespace
}  // namespace baton::models
