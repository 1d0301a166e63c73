// Takes tensors from a checkpoint, one after another, onto a device, and counts what it has taken.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "device/buffer.h"
#include "device/device.h"
#include "device/weight.h"
#include "models/checkpoint.h"
#include "models/decoder.h"

namespace baton::models {

// A tensor as floats, and the type that holds them without loss: f32, f16 or bf16.
struct FloatTensor {
  std::vector<float> values;
  device::DType dtype = device::DType::kF32;
};

// Tensors are named as in Hugging Face checkpoints, in either format (Checkpoint).
//
// Every shape is checked; errors are those of Checkpoint::Get, and InvalidArgument naming file and
// tensor. A safetensors tensor with a companion `<name>_scale_inv` is FP8 e4m3 with a scale per
// block (DeepSeek-V3); it is dequantised to f32 by that definition.
class WeightLoader {
 public:
  // All three must outlive the loader. `on_progress` as in LoadOptions.
  WeightLoader(const Checkpoint& checkpoint, device::Device& device,
               const std::function<void(float)>& on_progress);

  absl::StatusOr<std::unique_ptr<device::Weight>> Matrix(const std::string& name, int64_t rows,
                                                         int64_t cols);
  // Rows [first, first + count) of a matrix [rows, cols].
  absl::StatusOr<std::unique_ptr<device::Weight>> MatrixRows(const std::string& name, int64_t rows,
                                                             int64_t cols, int64_t first,
                                                             int64_t count);
  // A vector as floats in device memory.
  absl::StatusOr<device::Buffer> Vector(const std::string& name, int64_t size);
  // The gain of a norm: a vector, plus the number that the family's checkpoints leave out.
  absl::StatusOr<device::Buffer> Norm(const std::string& name, int64_t size);
  // For Norm; 0 at first.
  void set_norm_offset(float offset) { norm_offset_ = offset; }
  // Dequantised, in host memory. Not for GGUF's block types.
  absl::StatusOr<FloatTensor> Floats(const std::string& name, int64_t rows, int64_t cols);
  // Of a plain safetensors tensor (f32, f16, bf16) of `shape`, the part [index, ...] of the first
  // dimension.
  absl::StatusOr<FloatTensor> Slice(const std::string& name, const std::vector<int64_t>& shape,
                                    int64_t index);
  // A safetensors tensor of any rank and the given type; bytes as in the file.
  absl::StatusOr<const SafetensorsTensor*> Raw(const std::string& name, const std::string& dtype,
                                               const std::vector<int64_t>& shape);

  // Floats as a weight in `dtype`, which must hold them without loss.
  absl::StatusOr<std::unique_ptr<device::Weight>> Prepare(const std::vector<float>& values,
                                                          device::DType dtype, int64_t rows,
                                                          int64_t cols);
  absl::StatusOr<device::Buffer> ToDevice(const std::vector<float>& values);

  bool Has(const std::string& name) const { return checkpoint_.Has(name); }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  // InvalidArgument naming a tensor that was not taken: it would change the result if it were
  // computed with. Tables of rotary frequencies, lm_head of tied embeddings and names that begin
  // with one of `ignored_prefixes` are no error.
  absl::Status CheckAllTaken(const ModelConfig& config,
                             const std::vector<std::string>& ignored_prefixes) const;

 private:
  absl::StatusOr<device::StoredTensor> Take(const std::string& name, int64_t rows, int64_t cols);
  absl::StatusOr<FloatTensor> Fp8(const std::string& name, int64_t rows, int64_t cols);
  absl::Status Explain(const std::string& name, const absl::Status& status) const;
  void Count(const std::string& name);

  const Checkpoint& checkpoint_;
  device::Device& device_;
  const std::function<void(float)>& on_progress_;
  std::set<std::string> taken_;
  size_t tensor_count_ = 0;
  float norm_offset_ = 0;
};

// Embedding, output norm and output of a decoder under Hugging Face's names; `layers` stay empty.
absl::StatusOr<DecoderWeights> LoadDecoderEnds(WeightLoader& loader, const ModelConfig& config);

// A value of FP8 e4m3 (OCP, "FN": no infinities, 0x7f and 0xff are NaN).
float Fp8ToFloat(uint8_t bits);

}  // namespace baton::models
