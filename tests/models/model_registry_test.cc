// The table of families: what README.md says of it, and what each family of dense layers refuses by
// field and value instead of computing it wrongly.
#include "models/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/fakes/temp_folder.h"

namespace baton::models {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;

TEST(Registry, ReadmeHasTheTableOfTheFamilies) {
  std::string table = "| `model_type` | GGUF | what is computed |\n| --- | --- | --- |\n";
  for (const FamilySummary& family : SupportedFamilies()) {
    absl::StrAppend(&table, "| `", family.model_type, "` | `", family.gguf_architecture, "` | ",
                    family.computed, " |\n");
  }
  std::ostringstream readme;
  readme << std::ifstream(absl::StrCat(BATON_TEST_DATA, "/../README.md")).rdbuf();
  EXPECT_THAT(readme.str(), HasSubstr(table + "\n")) << "README.md needs this table";
}

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
  std::string Error() const {
    const absl::Status status = Read().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << config_;
    return std::string(status.message());
  }
  // The error of a config.json in which `key` has another value; null counts as absent.
  std::string ErrorWith(const std::string& key, const json& value) {
    const json before = config_;
    config_[key] = value;
    const std::string error = Error();
    config_ = before;
    return error;
  }
  json& config() { return config_; }
  const fakes::TempFolder& files() const { return folder_; }

 private:
  json config_;
  fakes::TempFolder folder_;
};

TEST(MistralConfig, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  Folder folder("mistral");
  EXPECT_THAT(folder.ErrorWith("sliding_window", 0), HasSubstr("sliding_window is 0"));
  EXPECT_THAT(folder.ErrorWith("hidden_act", "relu"), HasSubstr("hidden_act is \"relu\""));
  EXPECT_THAT(folder.ErrorWith("quantization_config", {{"quant_method", "bitsandbytes"}}),
              HasSubstr("quant_method is \"bitsandbytes\""));
}

TEST(QwenConfig, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  Folder folder("qwen2");
  EXPECT_THAT(folder.ErrorWith("use_mrope", true), HasSubstr("use_mrope is true"));
  EXPECT_THAT(folder.ErrorWith("layer_types", json::array({"linear_attention", "a", "b"})),
              HasSubstr("layer_types is [\"linear_attention\""));
  EXPECT_THAT(folder.ErrorWith("layer_types", json::array({"full_attention"})),
              HasSubstr("needed one for each of 3 layers"));
  Folder newer("qwen3");
  EXPECT_THAT(newer.ErrorWith("rope_parameters", {{"rope_theta", 1e6}, {"rope_type", "mrope"}}),
              HasSubstr("rope_parameters.rope_type is \"mrope\""));
  EXPECT_THAT(newer.ErrorWith("rope_parameters", {{"partial_rotary_factor", 0.5}}),
              HasSubstr("rope_parameters.partial_rotary_factor is 0.5"));
}

TEST(Gemma3Config, BothFormsOfItsTwoRotaryEmbeddingsMeanTheSame) {
  Folder folder("gemma3");
  json& config = folder.config();
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
  const auto older = folder.Read();
  ASSERT_TRUE(older.ok()) << older.status();
  for (const char* key : {"rope_scaling", "rope_theta", "rope_local_base_freq"}) config.erase(key);
  config["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1e6}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 1e4}}}};
  const auto newer = folder.Read();
  ASSERT_TRUE(newer.ok()) << newer.status();
  for (const auto& read : {older, newer}) {
    EXPECT_EQ(read->rope.scaling, RopeConfig::Scaling::kLinear);
    EXPECT_EQ(read->rope.factor, 8);
    EXPECT_EQ(read->rope.base, 1e6);
    ASSERT_TRUE(read->window_rope.has_value());
    EXPECT_EQ(read->window_rope->scaling, RopeConfig::Scaling::kNone);
    EXPECT_EQ(read->window_rope->base, 1e4);
    EXPECT_EQ(read->window_rope->rotary_dim, 32);
  }
}

TEST(Gemma3Config, WhatCannotBeComputedIsRefusedByFieldAndValue) {
  Folder folder("gemma3");
  EXPECT_THAT(folder.ErrorWith("final_logit_softcapping", 30.0),
              HasSubstr("final_logit_softcapping is 30.0"));
  EXPECT_THAT(folder.ErrorWith("hidden_activation", "gelu"), HasSubstr("hidden_activation is"));
  EXPECT_THAT(folder.ErrorWith("query_pre_attn_scalar", 0),
              HasSubstr("query_pre_attn_scalar is 0"));
  EXPECT_THAT(folder.ErrorWith("use_bidirectional_attention", true),
              HasSubstr("use_bidirectional_attention is true"));
}

TEST(Phi3Config, APartOfTheHeadIsRotatedAndLongRopeRead) {
  Folder folder("phi3");
  json& config = folder.config();
  config["partial_rotary_factor"] = 0.75;
  config["original_max_position_embeddings"] = 512;
  config["rope_scaling"] = {{"type", "longrope"},
                            {"short_factor", {1, 1, 1, 1, 1, 1}},
                            {"long_factor", {1, 2, 3, 4, 5, 6}}};
  const auto read = folder.Read();
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->head_dim, 16);
  EXPECT_EQ(read->rope.rotary_dim, 12);
  EXPECT_EQ(read->rope.scaling, RopeConfig::Scaling::kLongRope);
  EXPECT_EQ(read->rope.original_context, 512);
  EXPECT_THAT(read->rope.long_factors, ElementsAre(1, 2, 3, 4, 5, 6));
  // sqrt(1 + ln(2048 / 512) / ln(512))
  EXPECT_THAT(read->rope.attention_factor, FloatNear(1.10554f, 1e-5f));
  config["rope_scaling"]["long_factor"] = {1, 2};
  EXPECT_THAT(folder.Error(), HasSubstr("rope frequency factors are 2, needed 6"));
  config["rope_scaling"].erase("short_factor");
  EXPECT_THAT(folder.Error(), HasSubstr("rope_scaling.short_factor is missing"));
  config["partial_rotary_factor"] = 1.5;
  EXPECT_THAT(folder.Error(), HasSubstr("partial_rotary_factor is 1.5"));
}

TEST(FolderConfig, TokensThatEndAGenerationAreThoseOfBothFiles) {
  Folder folder("qwen3");
  folder.files().Write("generation_config.json", R"({"eos_token_id": [7, 2, 9]})");
  EXPECT_THAT(folder.Read()->eos_ids, ElementsAre(2, 7, 9));
  folder.files().Write("generation_config.json", R"({"eos_token_id": "two"})");
  EXPECT_THAT(folder.Error(), HasSubstr("generation_config.json: field eos_token_id is \"two\""));
}

}  // namespace
}  // namespace baton::models
