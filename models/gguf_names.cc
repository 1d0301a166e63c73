#include "models/gguf_names.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace baton::models {
namespace {

struct Rename {
  const char* hf;
  const char* gguf;
};

constexpr Rename kEnds[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};

constexpr Rename kInLayer[] = {{"input_layernorm", "attn_norm"},
                               {"self_attn.q_proj", "attn_q"},
                               {"self_attn.k_proj", "attn_k"},
                               {"self_attn.v_proj", "attn_v"},
                               {"self_attn.qkv_proj", "attn_qkv"},
                               {"self_attn.o_proj", "attn_output"},
                               {"self_attn.q_norm", "attn_q_norm"},
                               {"self_attn.k_norm", "attn_k_norm"},
                               {"self_attn.q_a_proj", "attn_q_a"},
                               {"self_attn.q_a_layernorm", "attn_q_a_norm"},
                               {"self_attn.q_b_proj", "attn_q_b"},
                               {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
                               {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
                               {"self_attn.kv_b_proj", "attn_kv_b"},
                               {"pre_feedforward_layernorm", "ffn_norm"},
                               {"post_feedforward_layernorm", "post_ffw_norm"},
                               {"mlp.gate_proj", "ffn_gate"},
                               {"mlp.up_proj", "ffn_up"},
                               {"mlp.gate_up_proj", "ffn_up"},
                               {"mlp.down_proj", "ffn_down"},
                               {"mlp.gate", "ffn_gate_inp"},
                               {"mlp.router", "ffn_gate_inp"},
                               {"block_sparse_moe.gate", "ffn_gate_inp"},
                               {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
                               {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
                               {"mlp.shared_experts.down_proj", "ffn_down_shexp"}};

// Of one expert; all of a layer are stacked in one tensor.
constexpr Rename kInExpert[] = {{"gate_proj", "ffn_gate_exps"}, {"up_proj", "ffn_up_exps"},
                                {"down_proj", "ffn_down_exps"}, {"w1", "ffn_gate_exps"},
                                {"w3", "ffn_up_exps"},          {"w2", "ffn_down_exps"}};

template <size_t N>
const char* Find(const Rename (&renames)[N], const std::string& hf) {
  for (const Rename& rename : renames) {
    if (hf == rename.hf) return rename.gguf;
  }
  return nullptr;
}

// Takes the number at `at` of `text` and moves behind it and one dot; -1: there is none.
int64_t TakeNumber(const std::string& text, size_t& at) {
  const size_t end = text.find_first_not_of("0123456789", at);
  if (end == std::string::npos || end == at || end > at + 9 || text[end] != '.') return -1;
  const int64_t number = std::atoll(text.substr(at, end - at).c_str());
  at = end + 1;
  return number;
}

// The norm that Hugging Face calls "after attention": where a family also norms what attention
// adds, the name means that norm, otherwise the one before the feed-forward network.
const char* AfterAttention(const std::string& model_type) {
  const bool own = model_type == "gemma3_text" || model_type == "olmo2" || model_type == "gpt_oss";
  return own ? "post_attention_norm" : "ffn_norm";
}

// `rest` follows the layer's prefix: "self_attn.q_proj.weight".
GgufPlace PlaceInLayer(const std::string& model_type, const std::string& blk,
                       const std::string& rest) {
  if (rest == "mlp.gate.e_score_correction_bias") return {blk + "exp_probs_b.bias"};
  if (rest == "self_attn.sinks") return {blk + "attn_sinks.weight"};
  const size_t dot = rest.rfind('.');
  if (dot == std::string::npos) return {};
  const std::string stem = rest.substr(0, dot), suffix = rest.substr(dot);
  if (stem == "post_attention_layernorm") return {blk + AfterAttention(model_type) + suffix};
  for (const auto& [parts, tensor] : {std::pair{"self_attn.k_b_proj.", "attn_k_b"},
                                      std::pair{"self_attn.v_b_proj.", "attn_v_b"}}) {
    if (!absl::StartsWith(rest, parts)) continue;
    size_t at = std::string(parts).size();
    return {absl::StrCat(blk, tensor, suffix), TakeNumber(rest, at)};
  }
  for (const std::string experts : {"mlp.experts.", "block_sparse_moe.experts."}) {
    if (!absl::StartsWith(stem, experts)) continue;
    size_t at = experts.size();
    const int64_t expert = TakeNumber(stem, at);
    const char* matrix = Find(kInExpert, stem.substr(at));
    if (expert < 0 || matrix == nullptr) return {};
    return {absl::StrCat(blk, matrix, suffix), expert};
  }
  const char* found = Find(kInLayer, stem);
  if (found == nullptr) return {};
  return {absl::StrCat(blk, found, suffix)};
}

}  // namespace

GgufPlace GgufPlaceOf(const std::string& model_type, const std::string& name) {
  const std::string layers = "model.layers.";
  GgufPlace place;
  if (absl::StartsWith(name, layers)) {
    size_t at = layers.size();
    const int64_t layer = TakeNumber(name, at);
    if (layer >= 0) {
      place = PlaceInLayer(model_type, absl::StrCat("blk.", layer, "."), name.substr(at));
    }
  } else if (const size_t dot = name.rfind('.'); dot != std::string::npos) {
    const char* found = Find(kEnds, name.substr(0, dot));
    if (found != nullptr) place.name = found + name.substr(dot);
  }
  if (place.name.empty()) place.name = name;
  return place;
}

}  // namespace baton::models
