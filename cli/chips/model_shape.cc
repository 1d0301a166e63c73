#include "cli/chips/model_shape.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace baton::cli {
namespace {

using Json = nlohmann::json;

// Takes whole numbers above 0 out of a configuration; the first complaint is kept.
class Fields {
 public:
  Fields(const Json& json, std::string path) : json_(json), path_(std::move(path)) {}
  int64_t Need(const char* name) {
    const int64_t value = Optional(name, 0);
    if (value <= 0) Complain(absl::StrCat(name, " is missing, or not a whole number above 0"));
    return value;
  }
  int64_t Optional(const char* name, int64_t otherwise) {
    const auto found = json_.find(name);
    if (found == json_.end() || found->is_null()) return otherwise;
    if (!found->is_number_integer()) {
      Complain(absl::StrCat(name, " is ", found->dump(), ", needs a whole number"));
      return otherwise;
    }
    return found->get<int64_t>();
  }
  void Complain(const std::string& text) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(path_, ": ", text));
  }
  const absl::Status& status() const { return status_; }

 private:
  const Json& json_;
  const std::string path_;
  absl::Status status_;
};

absl::StatusOr<std::string> FindConfig(const std::string& model, const std::string& folder) {
  namespace fs = std::filesystem;
  if (fs::is_directory(model)) return absl::StrCat(model, "/config.json");
  if (fs::is_regular_file(model)) return model;
  const std::string known = absl::StrCat(folder, "/", model, ".json");
  if (fs::is_regular_file(known)) return known;
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return absl::NotFoundError(absl::StrCat("no model '", model,
                                          "': needs a config.json, its folder, or one of ",
                                          absl::StrJoin(names, ", ")));
}

void TakeMixture(Fields* f, ModelShape* shape) {
  shape->experts = f->Optional("n_routed_experts", 0);
  for (const char* name : {"num_experts", "num_local_experts"}) {
    if (shape->experts == 0) shape->experts = f->Optional(name, 0);
  }
  if (shape->experts == 0) return;
  shape->experts_per_token = f->Need("num_experts_per_tok");
  shape->expert_intermediate = f->Optional("moe_intermediate_size", shape->intermediate);
  shape->shared_experts = f->Optional("n_shared_experts", 0);
  shape->dense_layers = f->Optional("first_k_dense_replace", 0);
  if (shape->experts_per_token > shape->experts || shape->dense_layers > shape->layers) {
    f->Complain("num_experts_per_tok or first_k_dense_replace is larger than what it is part of");
  }
}

// Bits of a weight: what the file says, or 8 for fp8 checkpoints, or 16.
double BitsOf(const Json& json) {
  if (json.contains("weight_bits") && json["weight_bits"].is_number()) return json["weight_bits"];
  const auto quantization = json.find("quantization_config");
  return quantization != json.end() && quantization->is_object() &&
                 quantization->value("quant_method", "") == "fp8"
             ? 8
             : 16;
}

}  // namespace

int64_t ModelShape::AttentionWeights() const {
  if (kv_rank == 0) return hidden * head_dim * (2 * heads + 2 * kv_heads);
  const int64_t query = q_rank > 0 ? hidden * q_rank + q_rank * heads * (nope_dim + rope_dim)
                                   : hidden * heads * (nope_dim + rope_dim);
  return query + hidden * (kv_rank + rope_dim) + kv_rank * heads * (nope_dim + value_dim) +
         heads * value_dim * hidden;
}

int64_t ModelShape::Weights() const {
  const int64_t moe = moe_layers();
  return vocab * hidden * (tied_embeddings ? 1 : 2) + layers * AttentionWeights() +
         (layers - moe) * DenseWeights() +
         moe * ((experts + shared_experts) * ExpertWeights() + hidden * experts);
}

int64_t ModelShape::ActiveWeights() const {
  const int64_t moe = moe_layers();
  return vocab * hidden + layers * AttentionWeights() + (layers - moe) * DenseWeights() +
         moe * ((experts_per_token + shared_experts) * ExpertWeights() + hidden * experts);
}

absl::StatusOr<ModelShape> ReadModelShape(const std::string& model, const std::string& folder,
                                          double bits_per_weight) {
  BATON_ASSIGN_OR_RETURN(const std::string path, FindConfig(model, folder));
  std::ifstream in(path);
  const Json json = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, ": no JSON object"));
  const Json& text =
      json.contains("text_config") && json["text_config"].is_object() ? json["text_config"] : json;
  Fields f(text, path);
  ModelShape shape;
  shape.name =
      std::string(absl::StripSuffix(std::filesystem::path(model).filename().string(), ".json"));
  shape.hidden = f.Need("hidden_size");
  shape.layers = f.Need("num_hidden_layers");
  shape.vocab = f.Need("vocab_size");
  shape.heads = f.Need("num_attention_heads");
  shape.kv_heads = f.Optional("num_key_value_heads", shape.heads);
  shape.head_dim = f.Optional("head_dim", shape.heads > 0 ? shape.hidden / shape.heads : 0);
  shape.intermediate = f.Need("intermediate_size");
  shape.kv_rank = f.Optional("kv_lora_rank", 0);
  if (shape.kv_rank > 0) {
    shape.q_rank = f.Optional("q_lora_rank", 0);
    shape.nope_dim = f.Need("qk_nope_head_dim");
    shape.rope_dim = f.Need("qk_rope_head_dim");
    shape.value_dim = f.Need("v_head_dim");
  }
  TakeMixture(&f, &shape);
  shape.tied_embeddings = text.contains("tie_word_embeddings") &&
                          text["tie_word_embeddings"].is_boolean() &&
                          text["tie_word_embeddings"].get<bool>();
  shape.weight_bytes = (bits_per_weight > 0 ? bits_per_weight : BitsOf(json)) / 8;
  BATON_RETURN_IF_ERROR(f.status());
  return shape;
}

}  // namespace baton::cli
