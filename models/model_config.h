// What a model is, as read from its file. Every field is checked when it is read
// (model_registry.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "device/ops.h"

namespace baton::models {

// Rotary embedding with its scaling variants (docs of each: HF transformers' rope utilities).
struct RopeConfig {
  enum class Scaling : uint8_t { kNone, kLinear, kLlama3, kYarn, kFactors, kLongRope };
  float base = 10000.0f;
  int32_t rotary_dim = 0;
  device::RopeStyle style = device::RopeStyle::kInterleaved;
  Scaling scaling = Scaling::kNone;
  float factor = 1.0f;            // linear, llama3, yarn
  float low_freq_factor = 1.0f;   // llama3
  float high_freq_factor = 4.0f;  // llama3
  int64_t original_context = 0;   // llama3, yarn, longrope
  float beta_fast = 32.0f;        // yarn
  float beta_slow = 1.0f;         // yarn
  bool truncate = true;           // yarn: the ramp begins and ends at whole pairs
  float attention_factor = 0.0f;  // yarn (0: 0.1 ln(factor) + 1), longrope
  std::vector<float>
      frequency_factors;  // kFactors: GGUF's rope_freqs.weight, [rotary_dim / 2] divisors
  // longrope: divisors of a context up to the original one, and of a longer one.
  std::vector<float> short_factors, long_factors;
};

struct ModelConfig {
  std::string architecture;  // "llama"
  std::string name;          // general.name, or the file's name
  int32_t layers = 0;
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t query_heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  // 0, or how many numbers at the end of a cached key are the value (KvGeometry::latent_dim).
  int32_t kv_latent_dim = 0;
  int32_t vocab_size = 0;
  int64_t context_length = 0;  // the most positions
  float norm_epsilon = 0;
  bool tied_embeddings = false;
  RopeConfig rope;
  // Of the layers with a sliding window, where they have one of their own (Gemma 3).
  std::optional<RopeConfig> window_rope;
  std::vector<int32_t> eos_ids;  // tokens that end a generation; empty without a tokenizer
  // Identifies weights and shape: equal on every node that may share KV (model_registry.h says how
  // it is computed).
  uint64_t fingerprint = 0;
};

}  // namespace baton::models
