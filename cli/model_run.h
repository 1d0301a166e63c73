// A model on a device with a KV cache for one sequence: what the commands that score text share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "device/device.h"
#include "kvcache/kv_store.h"
#include "models/model.h"

namespace baton::cli {

struct ModelRunOptions {
  std::string model;              // GGUF file or folder
  std::string device = "d_chip";  // "cpu", "p_chip" or "d_chip"
  std::string isa;                // "": the best that this CPU has
  int threads = 1;
  // What keys and values are kept as: "f16", "bf16" or "f32"; "": f32 on "cpu", elsewhere f16.
  std::string kv_dtype;
};

// Not thread-safe.
class ModelRun {
 public:
  // Receives the logits ([vocab_size]) after token `index` of the span given to Append; valid
  // during the call.
  using OnLogits = std::function<absl::Status(int64_t index, absl::Span<const float> logits)>;

  // Loads the model. Errors are those of CreateDevice and LoadModel.
  static absl::StatusOr<ModelRun> Load(const ModelRunOptions& options);

  const models::ModelConfig& config() const { return model_->config(); }
  std::string device_description() const { return device_->description(); }

  // Makes room for a sequence of `tokens` tokens. InvalidArgument: more than the model's context.
  absl::Status Reserve(int64_t tokens);
  // Forgets the sequence.
  void Restart() { position_ = 0; }
  // Appends tokens in chunks and reports the logits after each of them, or after the last one only.
  // REQUIRES: room was reserved.
  absl::Status Append(absl::Span<const int32_t> tokens, bool all_logits, const OnLogits& on_logits);

 private:
  ModelRun() = default;

  std::unique_ptr<device::Device> device_;
  std::unique_ptr<models::Model> model_;
  std::unique_ptr<kvcache::KvStore> store_;
  std::vector<int32_t> block_table_;
  int64_t position_ = 0;
  device::DType kv_dtype_ = device::DType::kF16;
};

}  // namespace baton::cli
