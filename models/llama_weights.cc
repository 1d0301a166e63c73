#include "models/llama_weights.h"

#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

// What the two formats call the tensors. Names in `layer` follow a prefix with the layer's number.
struct Names {
  const char* layer_prefix;
  const char *embedding, *output_norm, *output;
  const char *attention_norm, *query, *key, *value, *attention_output;
  const char *feed_forward_norm, *gate, *up, *down;
};

constexpr Names kGgufNames = {"blk.",     "token_embd", "output_norm", "output",      "attn_norm",
                              "attn_q",   "attn_k",     "attn_v",      "attn_output", "ffn_norm",
                              "ffn_gate", "ffn_up",     "ffn_down"};
constexpr Names kHfNames = {
    "model.layers.",    "model.embed_tokens",       "model.norm",       "lm_head",
    "input_layernorm",  "self_attn.q_proj",         "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj",    "mlp.up_proj",
    "mlp.down_proj"};

// Tensors that carry nothing which the configuration does not say.
bool MayBeIgnored(const std::string& name, bool tied) {
  return absl::EndsWith(name, "rotary_emb.inv_freq") || absl::EndsWith(name, "rope_freqs.weight") ||
         (tied && name == absl::StrCat(kHfNames.output, ".weight"));
}

float ElementAt(const device::StoredTensor& stored, int64_t i) {
  if (stored.dtype == device::DType::kF32) return static_cast<const float*>(stored.data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(stored.data)[i];
  return stored.dtype == device::DType::kF16 ? device::HalfToFloat(bits)
                                             : device::BFloat16ToFloat(bits);
}

// Takes tensors from a checkpoint, one after another, and counts what it has taken.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, device::Device& device,
         const std::function<void(float)>& on_progress)
      : checkpoint_(checkpoint), device_(device), on_progress_(on_progress) {
    tensor_count_ = checkpoint.TensorNames().size();
  }

  absl::StatusOr<std::unique_ptr<device::Weight>> Matrix(const std::string& name, int64_t rows,
                                                         int64_t cols) {
    BATON_ASSIGN_OR_RETURN(const device::StoredTensor stored, Take(name, rows, cols));
    absl::StatusOr<std::unique_ptr<device::Weight>> weight = device_.Prepare(stored);
    if (!weight.ok()) return Explain(name, weight.status());
    return weight;
  }

  absl::StatusOr<device::Buffer> Vector(const std::string& name, int64_t size) {
    BATON_ASSIGN_OR_RETURN(const device::StoredTensor stored, Take(name, 1, size));
    if (device::BlockElements(stored.dtype) != 1) {
      return Explain(name, absl::InvalidArgumentError(absl::StrCat(
                               "is of type ", std::string(device::DTypeName(stored.dtype)),
                               ", needed f32, f16 or bf16")));
    }
    BATON_ASSIGN_OR_RETURN(device::Buffer buffer, device_.Allocate(size * sizeof(float)));
    for (int64_t i = 0; i < size; ++i) buffer.floats()[i] = ElementAt(stored, i);
    return buffer;
  }

  // A tensor that nobody took would change the result if it were computed with.
  absl::Status CheckAllTaken(bool tied) const {
    for (const std::string& name : checkpoint_.TensorNames()) {
      if (taken_.count(name) > 0 || MayBeIgnored(name, tied)) continue;
      return Explain(name, absl::InvalidArgumentError(
                               "is none that the configuration calls for in this architecture"));
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<device::StoredTensor> Take(const std::string& name, int64_t rows, int64_t cols) {
    BATON_ASSIGN_OR_RETURN(const device::StoredTensor stored, checkpoint_.Get(name));
    if (stored.rows != rows || stored.cols != cols) {
      return Explain(name, absl::InvalidArgumentError(absl::StrCat(
                               "is [", stored.rows, ", ", stored.cols,
                               "], the configuration needs [", rows, ", ", cols, "]")));
    }
    taken_.insert(name);
    if (on_progress_) {
      on_progress_(static_cast<float>(taken_.size()) / static_cast<float>(tensor_count_));
    }
    return stored;
  }

  absl::Status Explain(const std::string& name, const absl::Status& status) const {
    return absl::Status(status.code(), absl::StrCat(checkpoint_.path(), ": tensor ", Quoted(name),
                                                    " ", status.message()));
  }

  const Checkpoint& checkpoint_;
  device::Device& device_;
  const std::function<void(float)>& on_progress_;
  std::set<std::string> taken_;
  size_t tensor_count_ = 0;
};

// Which outputs of attention have a bias: all or none as config.json says; in a GGUF file those
// that have one in layer 0. A bias that is then missing in some layer is an error, not zero.
struct Biases {
  bool query = false, key = false, value = false, attention_output = false;
};

absl::StatusOr<Biases> BiasesOf(const Checkpoint& checkpoint, const Names& names) {
  if (checkpoint.hf_config() != nullptr) {
    BATON_ASSIGN_OR_RETURN(const bool all,
                           checkpoint.hf_config()->GetBool("attention_bias", false));
    return Biases{all, all, all, all};
  }
  const auto has = [&](const char* name) {
    return checkpoint.Has(absl::StrCat(names.layer_prefix, 0, ".", name, ".bias"));
  };
  return Biases{has(names.query), has(names.key), has(names.value), has(names.attention_output)};
}

absl::StatusOr<LlamaLayer> LoadLayer(Loader& loader, const Names& names, int32_t index,
                                     const ModelConfig& config, const Biases& biases) {
  const auto weight = [&](const char* name) {
    return absl::StrCat(names.layer_prefix, index, ".", name, ".weight");
  };
  const auto bias = [&](bool wanted, const char* name,
                        int64_t size) -> absl::StatusOr<device::Buffer> {
    if (!wanted) return device::Buffer();
    return loader.Vector(absl::StrCat(names.layer_prefix, index, ".", name, ".bias"), size);
  };
  const int64_t hidden = config.hidden, intermediate = config.intermediate;
  const int64_t query_cols = int64_t{config.query_heads} * config.head_dim;
  const int64_t kv_cols = int64_t{config.kv_heads} * config.head_dim;
  LlamaLayer layer;
  BATON_ASSIGN_OR_RETURN(layer.attention_norm, loader.Vector(weight(names.attention_norm), hidden));
  BATON_ASSIGN_OR_RETURN(layer.query, loader.Matrix(weight(names.query), query_cols, hidden));
  BATON_ASSIGN_OR_RETURN(layer.key, loader.Matrix(weight(names.key), kv_cols, hidden));
  BATON_ASSIGN_OR_RETURN(layer.value, loader.Matrix(weight(names.value), kv_cols, hidden));
  BATON_ASSIGN_OR_RETURN(layer.attention_output,
                         loader.Matrix(weight(names.attention_output), hidden, query_cols));
  BATON_ASSIGN_OR_RETURN(layer.query_bias, bias(biases.query, names.query, query_cols));
  BATON_ASSIGN_OR_RETURN(layer.key_bias, bias(biases.key, names.key, kv_cols));
  BATON_ASSIGN_OR_RETURN(layer.value_bias, bias(biases.value, names.value, kv_cols));
  BATON_ASSIGN_OR_RETURN(layer.attention_output_bias,
                         bias(biases.attention_output, names.attention_output, hidden));
  BATON_ASSIGN_OR_RETURN(layer.feed_forward_norm,
                         loader.Vector(weight(names.feed_forward_norm), hidden));
  BATON_ASSIGN_OR_RETURN(layer.gate, loader.Matrix(weight(names.gate), intermediate, hidden));
  BATON_ASSIGN_OR_RETURN(layer.up, loader.Matrix(weight(names.up), intermediate, hidden));
  BATON_ASSIGN_OR_RETURN(layer.down, loader.Matrix(weight(names.down), hidden, intermediate));
  return layer;
}

}  // namespace

absl::StatusOr<LlamaWeights> LoadLlamaWeights(const Checkpoint& checkpoint,
                                              const ModelConfig& config, device::Device& device,
                                              const std::function<void(float)>& on_progress) {
  const Names& names = checkpoint.gguf() != nullptr ? kGgufNames : kHfNames;
  BATON_ASSIGN_OR_RETURN(const Biases biases, BiasesOf(checkpoint, names));
  Loader loader(checkpoint, device, on_progress);
  const auto weight = [](const char* name) { return absl::StrCat(name, ".weight"); };
  LlamaWeights weights;
  BATON_ASSIGN_OR_RETURN(weights.embedding,
                         loader.Matrix(weight(names.embedding), config.vocab_size, config.hidden));
  for (int32_t i = 0; i < config.layers; ++i) {
    BATON_ASSIGN_OR_RETURN(LlamaLayer layer, LoadLayer(loader, names, i, config, biases));
    weights.layers.push_back(std::move(layer));
  }
  BATON_ASSIGN_OR_RETURN(weights.output_norm,
                         loader.Vector(weight(names.output_norm), config.hidden));
  if (!config.tied_embeddings) {
    BATON_ASSIGN_OR_RETURN(weights.output,
                           loader.Matrix(weight(names.output), config.vocab_size, config.hidden));
  }
  BATON_RETURN_IF_ERROR(loader.CheckAllTaken(config.tied_embeddings));
  if (on_progress) on_progress(1.0f);
  return weights;
}

}  // namespace baton::models
