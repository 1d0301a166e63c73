// Configurations that no golden checkpoint has: random sizes of every dense family and of a
// mixture, chips against the reference, and FP8 blocks that the edges of a matrix cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "device/device_factory.h"
#include "models/model_registry.h"
#include "models/weight_loader.h"
#include "tests/fakes/contiguous_kv.h"
#include "tests/fakes/temp_folder.h"

namespace baton::models {
namespace {

using nlohmann::json;

// A safetensors file in the making.
class Tensors {
 public:
  explicit Tensors(uint64_t seed) : rng_(seed) {}

  void Add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
           const std::string& bytes) {
    // A tensor that is there already is replaced: its data stays behind, as padding.
    header_[name] = {{"dtype", dtype},
                     {"shape", shape},
                     {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_ += bytes;
  }
  // Uniform numbers whose outputs have about the deviation of their inputs; vectors are about
  // `mean`.
  void Matrix(const std::string& name, int64_t rows, int64_t cols) {
    std::vector<float> values(rows * cols);
    const float range = std::sqrt(3.0f / static_cast<float>(cols));
    for (float& value : values) value = range * Unit();
    Floats(name, {rows, cols}, values);
  }
  void Vector(const std::string& name, int64_t size, float mean) {
    std::vector<float> values(size);
    for (float& value : values) value = mean + 0.2f * Unit();
    Floats(name, {size}, values);
  }
  void Floats(const std::string& name, const std::vector<int64_t>& shape,
              const std::vector<float>& values) {
    const char* bytes = reinterpret_cast<const char*>(values.data());
    Add(name, "F32", shape, std::string(bytes, values.size() * sizeof(float)));
  }
  std::string File() const {
    const std::string header = header_.dump();
    const uint64_t size = header.size();
    return std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + header + data_;
  }
  float Unit() { return static_cast<float>(rng_.Next() >> 40) * 0x1p-23f - 1; }
  int64_t Pick(const std::vector<int64_t>& choices) {
    return choices[rng_.Next() % choices.size()];
  }

 private:
  SeededRng rng_;
  json header_ = json::object();
  std::string data_;
};

struct Sizes {
  std::string family;
  int64_t hidden, intermediate, vocab, kv_heads, heads, head_dim, experts = 0;
};

Sizes RandomSizes(const std::string& family, Tensors& tensors) {
  Sizes s{.family = family};
  s.kv_heads = tensors.Pick({1, 3});
  s.heads = s.kv_heads * tensors.Pick({1, 2, 5});
  s.head_dim = tensors.Pick({24, 40, 64, 96, 136, 256});
  s.hidden = tensors.Pick({36, 64, 100});
  s.intermediate = tensors.Pick({33, 70, 129});
  s.vocab = tensors.Pick({101, 257, 300});
  s.experts = family == "qwen3_moe" ? 5 : 0;
  return s;
}

json ConfigOf(const Sizes& s) {
  json config = {{"model_type", s.family},
                 {"num_hidden_layers", 2},
                 {"hidden_size", s.hidden},
                 {"intermediate_size", s.intermediate},
                 {"vocab_size", s.vocab},
                 {"num_attention_heads", s.heads},
                 {"num_key_value_heads", s.kv_heads},
                 {"head_dim", s.head_dim},
                 {"max_position_embeddings", 256},
                 {"rms_norm_eps", 1e-6},
                 {"tie_word_embeddings", true}};
  if (s.family == "mistral" || s.family == "gemma3_text") config["sliding_window"] = 17;
  if (s.family == "gemma3_text") config["layer_types"] = {"sliding_attention", "full_attention"};
  if (s.experts > 0) {
    config["num_experts"] = s.experts;
    config["num_experts_per_tok"] = 2;
    config["moe_intermediate_size"] = s.intermediate;
  }
  return config;
}

void AddAttention(const Sizes& s, const std::string& layer, float gain, Tensors& tensors) {
  const std::string attention = layer + "self_attn.";
  const int64_t query = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  if (s.family == "phi3") {
    tensors.Matrix(attention + "qkv_proj.weight", query + 2 * kv, s.hidden);
  } else {
    tensors.Matrix(attention + "q_proj.weight", query, s.hidden);
    tensors.Matrix(attention + "k_proj.weight", kv, s.hidden);
    tensors.Matrix(attention + "v_proj.weight", kv, s.hidden);
  }
  tensors.Matrix(attention + "o_proj.weight", s.hidden, query);
  if (s.family == "qwen2") {
    tensors.Vector(attention + "q_proj.bias", query, 0);
    tensors.Vector(attention + "k_proj.bias", kv, 0);
    tensors.Vector(attention + "v_proj.bias", kv, 0);
  }
  const bool whole = s.family == "olmo2";
  if (whole || s.family == "gemma3_text" || s.family == "qwen3" || s.experts > 0) {
    tensors.Vector(attention + "q_norm.weight", whole ? query : s.head_dim, gain);
    tensors.Vector(attention + "k_norm.weight", whole ? kv : s.head_dim, gain);
  }
}

void AddNetwork(const Sizes& s, const std::string& prefix, Tensors& tensors) {
  if (s.family == "phi3") {
    tensors.Matrix(prefix + "gate_up_proj.weight", 2 * s.intermediate, s.hidden);
  } else {
    tensors.Matrix(prefix + "gate_proj.weight", s.intermediate, s.hidden);
    tensors.Matrix(prefix + "up_proj.weight", s.intermediate, s.hidden);
  }
  tensors.Matrix(prefix + "down_proj.weight", s.hidden, s.intermediate);
}

void AddModel(const Sizes& s, Tensors& tensors) {
  const float gain = s.family == "gemma3_text" ? 0.0f : 1.0f;
  tensors.Matrix("model.embed_tokens.weight", s.vocab, s.hidden);
  tensors.Vector("model.norm.weight", s.hidden, gain);
  for (int i = 0; i < 2; ++i) {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    if (s.family != "olmo2") tensors.Vector(layer + "input_layernorm.weight", s.hidden, gain);
    tensors.Vector(layer + "post_attention_layernorm.weight", s.hidden, gain);
    if (s.family == "gemma3_text") {
      tensors.Vector(layer + "pre_feedforward_layernorm.weight", s.hidden, gain);
    }
    if (s.family == "gemma3_text" || s.family == "olmo2") {
      tensors.Vector(layer + "post_feedforward_layernorm.weight", s.hidden, gain);
    }
    AddAttention(s, layer, gain, tensors);
    if (s.experts > 0) tensors.Matrix(layer + "mlp.gate.weight", s.experts, s.hidden);
    for (int64_t e = 0; e < s.experts; ++e) {
      AddNetwork(s, absl::StrCat(layer, "mlp.experts.", e, "."), tensors);
    }
    if (s.experts == 0) AddNetwork(s, layer + "mlp.", tensors);
  }
}

// Logits of every position of a prompt of `tokens` tokens, in steps of 1 and of the rest.
std::vector<float> LogitsOf(const std::string& path, const std::string& chip, int32_t tokens) {
  std::vector<float> all;
  auto device = device::CreateDevice({.name = chip});
  EXPECT_TRUE(device.ok()) << device.status();
  auto model = LoadModel(path, **device, {});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return all;
  const ModelConfig& config = (*model)->config();
  auto kv = fakes::ContiguousKv::Create(**device, config, 1, 64, 16, device::DType::kF32);
  EXPECT_TRUE(kv.ok()) << kv.status();
  std::vector<int32_t> ids(tokens);
  for (int32_t i = 0; i < tokens; ++i) ids[i] = (i * 37 + 5) % config.vocab_size;
  for (int32_t begin = 0; begin < tokens;) {
    const int32_t step = begin == 0 ? 1 : tokens - begin;
    ForwardBatch batch;
    batch.kv = kv->layers();
    batch.sequences.push_back({.tokens = absl::MakeConstSpan(ids).subspan(begin, step),
                               .position = begin,
                               .block_table = kv->table(0),
                               .logits = LogitRows::kAll});
    device::ConstMatrixView logits;
    const absl::Status status = (*model)->Forward(batch, &logits);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) return all;
    all.insert(all.end(), logits.data, logits.data + logits.rows * logits.cols);
    begin += step;
  }
  return all;
}

class RandomModels : public testing::TestWithParam<std::string> {};

TEST_P(RandomModels, ChipsStayCloseToTheReference) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Tensors tensors(seed);
    const Sizes sizes = RandomSizes(GetParam(), tensors);
    AddModel(sizes, tensors);
    const fakes::TempFolder folder;
    const json config = ConfigOf(sizes);
    folder.Write("config.json", config.dump());
    folder.Write("model.safetensors", tensors.File());
    for (const int32_t tokens : {1, 40}) {
      const std::vector<float> expected = LogitsOf(folder.path(), "cpu", tokens);
      ASSERT_EQ(expected.size(), static_cast<size_t>(tokens * sizes.vocab)) << config;
      const std::vector<float> p_chip = LogitsOf(folder.path(), "p_chip", tokens);
      ASSERT_EQ(p_chip.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_NEAR(p_chip[i], expected[i], 1e-3) << config;
      }
      EXPECT_EQ(LogitsOf(folder.path(), "d_chip", tokens), p_chip) << config;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, RandomModels,
                         testing::Values("llama", "mistral", "qwen2", "qwen3", "gemma3_text",
                                         "phi3", "olmo2", "qwen3_moe"),
                         [](const auto& info) { return info.param; });

// [rows, cols] in blocks of [16, 24], which cut neither dimension evenly: the bytes, and the
// numbers that they stand for.
TEST(Fp8Blocks, TheEdgesOfAMatrixMayCutThem) {
  Tensors plain(1), fp8(1);
  const Sizes s{.family = "llama",
                .hidden = 36,
                .intermediate = 33,
                .vocab = 101,
                .kv_heads = 1,
                .heads = 3,
                .head_dim = 24};
  AddModel(s, plain);
  AddModel(s, fp8);
  const int64_t rows = s.intermediate, cols = s.hidden, block_rows = 16, block_cols = 24;
  const int64_t scale_cols = (cols + block_cols - 1) / block_cols;
  std::string bytes(rows * cols, '\0');
  std::vector<float> scales((rows + block_rows - 1) / block_rows * scale_cols);
  for (float& scale : scales) scale = 0.01f * (2 + plain.Unit());
  std::vector<float> values(rows * cols);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const uint8_t bits = static_cast<uint8_t>(i * 7 % 120);
    bytes[i] = static_cast<char>(bits);
    values[i] =
        Fp8ToFloat(bits) * scales[i / cols / block_rows * scale_cols + i % cols / block_cols];
  }
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  plain.Floats(name, {rows, cols}, values);
  fp8.Add(name, "F8_E4M3", {rows, cols}, bytes);
  fp8.Floats(name + "_scale_inv", {(rows + block_rows - 1) / block_rows, scale_cols}, scales);
  json config = ConfigOf(s);
  const fakes::TempFolder plain_folder, fp8_folder;
  plain_folder.Write("config.json", config.dump());
  plain_folder.Write("model.safetensors", plain.File());
  config["quantization_config"] = {{"quant_method", "fp8"},
                                   {"weight_block_size", {block_rows, block_cols}}};
  fp8_folder.Write("config.json", config.dump());
  fp8_folder.Write("model.safetensors", fp8.File());
  const std::vector<float> expected = LogitsOf(plain_folder.path(), "cpu", 5);
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(LogitsOf(fp8_folder.path(), "cpu", 5), expected);
}

}  // namespace
}  // namespace baton::models
