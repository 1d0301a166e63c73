#include "tests/fakes/hf_to_gguf.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/dtype.h"
#include "models/checkpoint.h"
#include "tests/fakes/gguf_writer.h"

namespace baton::fakes {
namespace {

using nlohmann::json;

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

class Converter {
 public:
  explicit Converter(json config) : config_(std::move(config)) {}

  absl::Status Read(const models::Checkpoint& checkpoint) {
    for (const std::string& name : checkpoint.TensorNames()) {
      BATON_ASSIGN_OR_RETURN(const models::SafetensorsTensor* stored, checkpoint.GetRaw(name));
      Tensor tensor{.shape = stored->shape};
      const bool wide = stored->dtype == "F32";
      for (uint64_t at = 0; at < stored->bytes; at += wide ? 4 : 2) {
        float value;
        uint16_t bits;
        std::memcpy(&value, stored->data + at, wide ? 4 : 2);
        std::memcpy(&bits, stored->data + at, 2);
        if (!wide) {
          value =
              stored->dtype == "F16" ? device::HalfToFloat(bits) : device::BFloat16ToFloat(bits);
        }
        tensor.values.push_back(value);
      }
      tensors_[name] = std::move(tensor);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Convert() {
    static const std::map<std::string, std::string> kArchitectures = {
        {"llama", "llama"},           {"mistral", "llama"},
        {"mixtral", "llama"},         {"qwen2", "qwen2"},
        {"qwen3", "qwen3"},           {"qwen3_moe", "qwen3moe"},
        {"gemma3_text", "gemma3"},    {"phi3", "phi3"},
        {"olmo2", "olmo2"},           {"gpt_oss", "gpt-oss"},
        {"deepseek_v2", "deepseek2"}, {"kimi_k2", "deepseek2"}};
    type_ = config_["model_type"];
    const auto found = kArchitectures.find(type_);
    if (found == kArchitectures.end()) {
      return absl::InvalidArgumentError(absl::StrCat("model_type is ", type_));
    }
    arch_ = found->second;
    writer_.AddString("general.architecture", arch_);
    AddMetadata();
    AddExpertMetadata();
    AddRopeMetadata();
    if (arch_ == "deepseek2") AddLatentMetadata();
    AddEnds();
    for (int64_t i = 0; i < Int("num_hidden_layers"); ++i) AddLayer(i);
    return writer_.Bytes();
  }

 private:
  int64_t Int(const char* key) const { return config_.at(key).get<int64_t>(); }
  bool Has(const char* key) const { return config_.contains(key) && !config_[key].is_null(); }
  void Uint(const std::string& key, const char* field) {
    if (Has(field)) writer_.AddUint(absl::StrCat(arch_, ".", key), Int(field));
  }
  void Float(const std::string& key, const json& value) {
    writer_.AddFloat(absl::StrCat(arch_, ".", key), value.get<float>());
  }
  int64_t HeadDim() const {
    return Has("head_dim") ? Int("head_dim") : Int("hidden_size") / Int("num_attention_heads");
  }

  void AddMetadata() {
    Uint("block_count", "num_hidden_layers");
    Uint("context_length", "max_position_embeddings");
    Uint("embedding_length", "hidden_size");
    Uint("feed_forward_length", "intermediate_size");
    Uint("attention.head_count", "num_attention_heads");
    if (arch_ != "deepseek2") {
      Uint("attention.head_count_kv", "num_key_value_heads");
      writer_.AddUint(arch_ + ".attention.key_length", HeadDim());
      writer_.AddUint(arch_ + ".attention.value_length", HeadDim());
      writer_.AddUint(arch_ + ".rope.dimension_count", HeadDim());
    }
    Float("attention.layer_norm_rms_epsilon", config_["rms_norm_eps"]);
    // Of the families that switch it off by another field the key is left out.
    if (arch_ != "qwen2") Uint("attention.sliding_window", "sliding_window");
    if (type_ == "gemma3_text") {
      std::vector<int32_t> slides;
      for (const json& layer : config_["layer_types"])
        slides.push_back(layer == "sliding_attention");
      writer_.AddInts("gemma3.attention.sliding_window_pattern", slides);
    }
    writer_.AddUint("tokenizer.ggml.eos_token_id", Int("eos_token_id"));
  }

  void AddExpertMetadata() {
    Uint("expert_count", "num_local_experts");
    Uint("expert_count", "num_experts");
    Uint("expert_count", "n_routed_experts");
    Uint("expert_used_count", "num_experts_per_tok");
    Uint("expert_feed_forward_length", "moe_intermediate_size");
    if (type_ == "gpt_oss") Uint("expert_feed_forward_length", "intermediate_size");
  }

  void AddLatentMetadata() {
    Uint("attention.q_lora_rank", "q_lora_rank");
    Uint("attention.kv_lora_rank", "kv_lora_rank");
    const int64_t rotary = Int("qk_rope_head_dim"), latent = Int("kv_lora_rank");
    writer_.AddUint("deepseek2.attention.head_count_kv", 1);
    writer_.AddUint("deepseek2.attention.key_length", latent + rotary);
    writer_.AddUint("deepseek2.attention.value_length", latent);
    writer_.AddUint("deepseek2.attention.key_length_mla", Int("qk_nope_head_dim") + rotary);
    Uint("attention.value_length_mla", "v_head_dim");
    Uint("rope.dimension_count", "qk_rope_head_dim");
    Uint("expert_shared_count", "n_shared_experts");
    Uint("leading_dense_block_count", "first_k_dense_replace");
    Float("expert_weights_scale", config_["routed_scaling_factor"]);
    writer_.AddBool("deepseek2.expert_weights_norm", config_["norm_topk_prob"].get<bool>());
    writer_.AddUint("deepseek2.expert_gating_func", type_ == "kimi_k2" ? 2 : 1);
  }

  void AddRopeMetadata() {
    const bool newer = Has("rope_parameters");
    Float("rope.freq_base",
          newer ? config_["rope_parameters"]["rope_theta"] : config_["rope_theta"]);
    if (!Has("rope_scaling")) return;
    const json& scaling = config_["rope_scaling"];
    const std::string type = scaling.contains("type") ? scaling["type"] : scaling["rope_type"];
    if (type == "llama3") return AddLlama3Factors(scaling);
    writer_.AddString(arch_ + ".rope.scaling.type", type);
    Float("rope.scaling.factor", scaling["factor"]);
    if (type != "yarn") return;
    writer_.AddUint(arch_ + ".rope.scaling.original_context_length",
                    scaling["original_max_position_embeddings"].get<uint32_t>());
    Float("rope.scaling.yarn_beta_fast", scaling["beta_fast"]);
    Float("rope.scaling.yarn_beta_slow", scaling["beta_slow"]);
    if (scaling.contains("mscale_all_dim")) {
      Float("rope.scaling.yarn_log_multiplier", 0.1 * scaling["mscale_all_dim"].get<double>());
    }
  }

  void AddLlama3Factors(const json& scaling) {
    const double base = config_["rope_theta"], factor = scaling["factor"];
    const double low = scaling["low_freq_factor"], high = scaling["high_freq_factor"];
    const double context = scaling["original_max_position_embeddings"];
    Tensor factors{.shape = {HeadDim() / 2}};
    for (int64_t i = 0; i < HeadDim() / 2; ++i) {
      const double wave = 2 * M_PI * std::pow(base, 2.0 * i / HeadDim());
      const double smooth = (context / wave - low) / (high - low);
      const double divisor = wave < context / high  ? 1
                             : wave > context / low ? factor
                                                    : 1 / ((1 - smooth) / factor + smooth);
      factors.values.push_back(static_cast<float>(divisor));
    }
    Add("rope_freqs.weight", factors);
  }

  // Dimensions in reverse order, as GGUF counts them; everything as F32.
  void Add(const std::string& name, const Tensor& tensor) {
    const std::vector<uint64_t> dims(tensor.shape.rbegin(), tensor.shape.rend());
    writer_.AddTensor(name, dims, models::GgmlType::kF32,
                      Encode(models::GgmlType::kF32, tensor.values));
  }
  bool Copy(const std::string& from, const std::string& to) {
    const auto found = tensors_.find(from);
    if (found == tensors_.end()) return false;
    Tensor tensor = found->second;
    // Gemma's gains are stored less one.
    if (type_ == "gemma3_text" && absl::StrContains(from, "norm")) {
      for (float& gain : tensor.values) gain += 1;
    }
    Add(to, tensor);
    return true;
  }

  void AddEnds() {
    Copy("model.embed_tokens.weight", "token_embd.weight");
    Copy("model.norm.weight", "output_norm.weight");
    Copy("lm_head.weight", "output.weight");
  }

  void AddLayer(int64_t index) {
    const std::string hf = absl::StrCat("model.layers.", index, ".");
    const std::string blk = absl::StrCat("blk.", index, ".");
    const bool own_norm = type_ == "gemma3_text" || type_ == "olmo2" || type_ == "gpt_oss";
    const std::pair<const char*, const char*> plain[] = {
        {"input_layernorm", "attn_norm"},
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
        {"post_attention_layernorm", own_norm ? "post_attention_norm" : "ffn_norm"},
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
    for (const auto& [from, to] : plain) {
      for (const char* suffix : {".weight", ".bias"}) Copy(hf + from + suffix, blk + to + suffix);
    }
    Copy(hf + "self_attn.sinks", blk + "attn_sinks.weight");
    Copy(hf + "mlp.gate.e_score_correction_bias", blk + "exp_probs_b.bias");
    AddRotated(hf + "self_attn.q_proj", blk + "attn_q", Int("num_attention_heads"));
    AddRotated(hf + "self_attn.k_proj", blk + "attn_k", Int("num_key_value_heads"));
    if (arch_ == "deepseek2") AddKvB(tensors_.at(hf + "self_attn.kv_b_proj.weight"), blk);
    if (type_ == "gpt_oss") return AddGptOssExperts(hf + "mlp.experts.", blk);
    AddExperts(hf + "mlp.experts.", blk, {"gate_proj", "up_proj", "down_proj"});
    AddExperts(hf + "block_sparse_moe.experts.", blk, {"w1", "w3", "w2"});
  }

  // llama's queries and keys are rotated in pairs of neighbours: row (half, i) of a head moves to
  // row (i, half).
  void AddRotated(const std::string& from, const std::string& to, int64_t heads) {
    for (const std::string suffix : {".weight", ".bias"}) {
      if (arch_ != "llama") {
        Copy(from + suffix, to + suffix);
        continue;
      }
      const auto found = tensors_.find(from + suffix);
      if (found == tensors_.end()) continue;
      Tensor turned = found->second;
      const int64_t rows = turned.shape[0], half = rows / heads / 2;
      const int64_t cols = static_cast<int64_t>(turned.values.size()) / rows;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t head = r / (2 * half), within = r % (2 * half);
        const int64_t target = head * 2 * half + within % half * 2 + within / half;
        std::copy_n(found->second.values.begin() + r * cols, cols,
                    turned.values.begin() + target * cols);
      }
      Add(to + suffix, turned);
    }
  }

  // One matrix for the keys, transposed by head, and one for the values.
  void AddKvB(const Tensor& both, const std::string& blk) {
    const int64_t heads = Int("num_attention_heads"), plain = Int("qk_nope_head_dim");
    const int64_t value = Int("v_head_dim"), latent = Int("kv_lora_rank");
    Tensor keys{.shape = {heads, latent, plain}}, values{.shape = {heads, value, latent}};
    for (int64_t h = 0; h < heads; ++h) {
      const float* head = both.values.data() + h * (plain + value) * latent;
      for (int64_t l = 0; l < latent; ++l) {
        for (int64_t i = 0; i < plain; ++i) keys.values.push_back(head[i * latent + l]);
      }
      values.values.insert(values.values.end(), head + plain * latent,
                           head + (plain + value) * latent);
    }
    Add(blk + "attn_k_b.weight", keys);
    Add(blk + "attn_v_b.weight", values);
  }

  void AddExperts(const std::string& experts, const std::string& blk,
                  const std::vector<std::string>& names) {
    const char* stacks[] = {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"};
    for (size_t n = 0; n < names.size(); ++n) {
      Tensor stack;
      for (int64_t e = 0;; ++e) {
        const auto found = tensors_.find(absl::StrCat(experts, e, ".", names[n], ".weight"));
        if (found == tensors_.end()) break;
        const Tensor& one = found->second;
        stack.shape = {e + 1, one.shape[0], one.shape[1]};
        stack.values.insert(stack.values.end(), one.values.begin(), one.values.end());
      }
      if (!stack.values.empty()) Add(blk + stacks[n], stack);
    }
  }

  // [experts, in, 2 * out] of alternating gate and up columns, turned and parted.
  void AddGptOssExperts(const std::string& experts, const std::string& blk) {
    const Tensor& both = tensors_.at(experts + "gate_up_proj");
    const Tensor& down = tensors_.at(experts + "down_proj");
    const int64_t count = both.shape[0], in = both.shape[1], out = both.shape[2] / 2;
    Tensor halves[2], down_turned{.shape = {count, down.shape[2], down.shape[1]}};
    for (int which : {0, 1}) {
      halves[which].shape = {count, out, in};
      for (int64_t e = 0; e < count; ++e) {
        for (int64_t o = 0; o < out; ++o) {
          for (int64_t i = 0; i < in; ++i) {
            halves[which].values.push_back(both.values[(e * in + i) * 2 * out + 2 * o + which]);
          }
        }
      }
    }
    for (int64_t e = 0; e < count; ++e) {
      for (int64_t r = 0; r < down.shape[2]; ++r) {
        for (int64_t c = 0; c < down.shape[1]; ++c) {
          down_turned.values.push_back(down.values[(e * down.shape[1] + c) * down.shape[2] + r]);
        }
      }
    }
    Add(blk + "ffn_gate_exps.weight", halves[0]);
    Add(blk + "ffn_up_exps.weight", halves[1]);
    Add(blk + "ffn_down_exps.weight", down_turned);
    const Tensor& bias = tensors_.at(experts + "gate_up_proj_bias");
    for (int which : {0, 1}) {
      Tensor half{.shape = {count, out}};
      for (int64_t i = which; i < count * 2 * out; i += 2) half.values.push_back(bias.values[i]);
      Add(blk + (which == 0 ? "ffn_gate_exps.bias" : "ffn_up_exps.bias"), half);
    }
    Copy(experts + "down_proj_bias", blk + "ffn_down_exps.bias");
  }

  json config_;
  std::map<std::string, Tensor> tensors_;
  std::string type_, arch_;
  GgufWriter writer_;
};

}  // namespace

absl::StatusOr<std::string> HfToGguf(const std::string& folder) {
  BATON_ASSIGN_OR_RETURN(const auto checkpoint, models::Checkpoint::Open(folder));
  Converter converter(json::parse(checkpoint->hf_config()->text()));
  BATON_RETURN_IF_ERROR(converter.Read(*checkpoint));
  return converter.Convert();
}

}  // namespace baton::fakes
