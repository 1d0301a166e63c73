#include "models/weight_loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "device/block_formats.h"
#include "models/int4_checkpoint.h"

namespace baton::models {
namespace {

float ElementAt(const device::StoredTensor& stored, int64_t i) {
  if (stored.dtype == device::DType::kF32) return static_cast<const float*>(stored.data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(stored.data)[i];
  return stored.dtype == device::DType::kF16 ? device::HalfToFloat(bits)
                                             : device::BFloat16ToFloat(bits);
}

// "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight".
std::string BaseOf(const std::string& name) {
  return std::string(absl::StripSuffix(name, ".weight"));
}

FloatTensor ToFloats(const device::StoredTensor& stored) {
  FloatTensor floats{.values = std::vector<float>(stored.rows * stored.cols)};
  device::Dequantize(stored.dtype, stored.data, stored.rows * stored.cols, floats.values.data());
  if (device::BlockElements(stored.dtype) == 1) floats.dtype = stored.dtype;
  return floats;
}

uint16_t ToBits16(float value, device::DType dtype) {
  if (dtype == device::DType::kF16) return device::FloatToHalf(value);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>(bits >> 16);
}

}  // namespace

float Fp8ToFloat(uint8_t bits) {
  const float sign = (bits & 0x80) != 0 ? -1.0f : 1.0f;
  const int exponent = (bits >> 3) & 0xf, mantissa = bits & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

WeightLoader::WeightLoader(const Checkpoint& checkpoint, device::Device& device,
                           const std::function<void(float)>& on_progress)
    : checkpoint_(checkpoint), device_(device), on_progress_(on_progress) {
  tensor_count_ = checkpoint.TensorNames().size();
}

absl::StatusOr<std::unique_ptr<device::Weight>> WeightLoader::Matrix(const std::string& name,
                                                                     int64_t rows, int64_t cols) {
  if (Has(name + "_scale_inv")) {
    BATON_ASSIGN_OR_RETURN(const FloatTensor floats, Fp8(name, rows, cols));
    return Prepare(floats.values, floats.dtype, rows, cols);
  }
  Int4Matrix int4;  // what `stored` is a view of, where the weight has four bits
  device::StoredTensor stored;
  if (IsInt4(checkpoint_, BaseOf(name))) {
    BATON_ASSIGN_OR_RETURN(int4, ReadInt4(checkpoint_, BaseOf(name), rows, cols));
    for (const std::string& tensor : int4.tensors) Count(tensor);
    stored = int4.stored();
  } else {
    BATON_ASSIGN_OR_RETURN(stored, Take(name, rows, cols));
  }
  absl::StatusOr<std::unique_ptr<device::Weight>> weight = device_.Prepare(stored);
  if (!weight.ok()) return Explain(name, weight.status());
  return weight;
}

absl::StatusOr<device::Buffer> WeightLoader::Vector(const std::string& name, int64_t size) {
  BATON_ASSIGN_OR_RETURN(const FloatTensor floats, Floats(name, 1, size));
  return ToDevice(floats.values);
}

absl::StatusOr<std::unique_ptr<device::Weight>> WeightLoader::MatrixRows(const std::string& name,
                                                                         int64_t rows, int64_t cols,
                                                                         int64_t first,
                                                                         int64_t count) {
  if (Has(name + "_scale_inv")) {
    BATON_ASSIGN_OR_RETURN(const FloatTensor floats, Fp8(name, rows, cols));
    const auto begin = floats.values.begin() + first * cols;
    return Prepare(std::vector<float>(begin, begin + count * cols), floats.dtype, count, cols);
  }
  BATON_ASSIGN_OR_RETURN(device::StoredTensor stored, Take(name, rows, cols));
  const int64_t row_bytes =
      cols / device::BlockElements(stored.dtype) * device::BlockBytes(stored.dtype);
  stored.data = static_cast<const uint8_t*>(stored.data) + first * row_bytes;
  stored.rows = count;
  absl::StatusOr<std::unique_ptr<device::Weight>> weight = device_.Prepare(stored);
  if (!weight.ok()) return Explain(name, weight.status());
  return weight;
}

absl::StatusOr<device::Buffer> WeightLoader::Norm(const std::string& name, int64_t size) {
  BATON_ASSIGN_OR_RETURN(FloatTensor floats, Floats(name, 1, size));
  for (float& gain : floats.values) gain += norm_offset_;
  return ToDevice(floats.values);
}

absl::StatusOr<FloatTensor> WeightLoader::Floats(const std::string& name, int64_t rows,
                                                 int64_t cols) {
  if (Has(name + "_scale_inv")) return Fp8(name, rows, cols);
  if (IsInt4(checkpoint_, BaseOf(name))) {
    BATON_ASSIGN_OR_RETURN(const Int4Matrix int4, ReadInt4(checkpoint_, BaseOf(name), rows, cols));
    for (const std::string& tensor : int4.tensors) Count(tensor);
    return ToFloats(int4.stored());
  }
  BATON_ASSIGN_OR_RETURN(const device::StoredTensor stored, Take(name, rows, cols));
  return ToFloats(stored);
}

absl::StatusOr<FloatTensor> WeightLoader::Fp8(const std::string& name, int64_t rows, int64_t cols) {
  const HfConfig* hf = checkpoint_.hf_config();
  BATON_ASSIGN_OR_RETURN(const HfConfig quantisation, hf->GetObject("quantization_config"));
  BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> block,
                         quantisation.GetIntList("weight_block_size"));
  if (block.size() != 2 || block[0] < 1 || block[1] < 1) {
    return quantisation.Refusal("weight_block_size", "needed two numbers above 0");
  }
  BATON_ASSIGN_OR_RETURN(const SafetensorsTensor* stored, Raw(name, "F8_E4M3", {rows, cols}));
  const int64_t scale_rows = (rows + block[0] - 1) / block[0];
  const int64_t scale_cols = (cols + block[1] - 1) / block[1];
  BATON_ASSIGN_OR_RETURN(const FloatTensor scales,
                         Floats(name + "_scale_inv", scale_rows, scale_cols));
  FloatTensor floats{.values = std::vector<float>(rows * cols)};
  for (int64_t r = 0; r < rows; ++r) {
    const float* row_scales = scales.values.data() + r / block[0] * scale_cols;
    for (int64_t c = 0; c < cols; ++c) {
      floats.values[r * cols + c] =
          Fp8ToFloat(stored->data[r * cols + c]) * row_scales[c / block[1]];
    }
  }
  return floats;
}

absl::StatusOr<FloatTensor> WeightLoader::Slice(const std::string& name,
                                                const std::vector<int64_t>& shape, int64_t index) {
  BATON_ASSIGN_OR_RETURN(const SafetensorsTensor* found, checkpoint_.GetRaw(name));
  BATON_ASSIGN_OR_RETURN(const SafetensorsTensor* stored, Raw(name, found->dtype, shape));
  device::StoredTensor part{.rows = 1,
                            .cols = std::accumulate(shape.begin() + 1, shape.end(), int64_t{1},
                                                    std::multiplies<int64_t>())};
  if (stored->dtype == "F32") {
    part.dtype = device::DType::kF32;
  } else if (stored->dtype == "F16") {
    part.dtype = device::DType::kF16;
  } else if (stored->dtype == "BF16") {
    part.dtype = device::DType::kBF16;
  } else {
    return Explain(name, absl::InvalidArgumentError(absl::StrCat("is of type ", stored->dtype,
                                                                 ", needed F32, F16 or BF16")));
  }
  // The file promises no alignment.
  const size_t bytes = static_cast<size_t>(part.cols * device::BlockBytes(part.dtype));
  std::vector<uint32_t> aligned((bytes + 3) / 4);
  std::memcpy(aligned.data(), stored->data + index * bytes, bytes);
  part.data = aligned.data();
  FloatTensor floats{.values = std::vector<float>(part.cols), .dtype = part.dtype};
  for (int64_t i = 0; i < part.cols; ++i) floats.values[i] = ElementAt(part, i);
  return floats;
}

absl::StatusOr<const SafetensorsTensor*> WeightLoader::Raw(const std::string& name,
                                                           const std::string& dtype,
                                                           const std::vector<int64_t>& shape) {
  BATON_ASSIGN_OR_RETURN(const SafetensorsTensor* stored, checkpoint_.GetRaw(name));
  if (stored->dtype != dtype || stored->shape != shape) {
    const SafetensorsTensor needed{.dtype = dtype, .shape = shape};
    return Explain(name, absl::InvalidArgumentError(
                             absl::StrCat("is ", stored->dtype, " of shape ", stored->ShapeText(),
                                          ", needed ", dtype, " of shape ", needed.ShapeText())));
  }
  Count(name);
  return stored;
}

absl::StatusOr<std::unique_ptr<device::Weight>> WeightLoader::Prepare(
    const std::vector<float>& values, device::DType dtype, int64_t rows, int64_t cols) {
  BATON_CHECK(static_cast<int64_t>(values.size()) == rows * cols, "the caller knows the shape");
  if (dtype == device::DType::kF32) return device_.Prepare({dtype, rows, cols, values.data()});
  std::vector<uint16_t> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) narrow[i] = ToBits16(values[i], dtype);
  return device_.Prepare({dtype, rows, cols, narrow.data()});
}

absl::StatusOr<device::Buffer> WeightLoader::ToDevice(const std::vector<float>& values) {
  BATON_ASSIGN_OR_RETURN(device::Buffer buffer, device_.Allocate(values.size() * sizeof(float)));
  BATON_RETURN_IF_ERROR(
      device_.Copy(buffer.data(), values.data(), values.size() * sizeof(float)));
  return buffer;
}

absl::Status WeightLoader::CheckAllTaken(const ModelConfig& config,
                                         const std::vector<std::string>& ignored_prefixes) const {
  for (const std::string& name : checkpoint_.TensorNames()) {
    const bool ignored =
        absl::EndsWith(name, "rotary_emb.inv_freq") || absl::EndsWith(name, "rope_freqs.weight") ||
        absl::StartsWith(name, "rope_factors_") ||
        (config.tied_embeddings && name == "lm_head.weight") ||
        std::any_of(ignored_prefixes.begin(), ignored_prefixes.end(),
                    [&](const std::string& prefix) { return absl::StartsWith(name, prefix); });
    if (ignored || taken_.count(name) > 0) continue;
    return Explain(name, absl::InvalidArgumentError(
                             "is none that the configuration calls for in this architecture"));
  }
  if (on_progress_) on_progress_(1.0f);
  return absl::OkStatus();
}

absl::StatusOr<device::StoredTensor> WeightLoader::Take(const std::string& name, int64_t rows,
                                                        int64_t cols) {
  BATON_ASSIGN_OR_RETURN(const device::StoredTensor stored, checkpoint_.Get(name));
  if (stored.rows != rows || stored.cols != cols) {
    return Explain(name, absl::InvalidArgumentError(
                             absl::StrCat("is [", stored.rows, ", ", stored.cols,
                                          "], the configuration needs [", rows, ", ", cols, "]")));
  }
  Count(name);
  return stored;
}

absl::Status WeightLoader::Explain(const std::string& name, const absl::Status& status) const {
  return absl::Status(status.code(),
                      absl::StrCat(checkpoint_.path(), ": tensor ",
                                   Quoted(checkpoint_.StoredName(name)), " ", status.message()));
}

void WeightLoader::Count(const std::string& name) {
  taken_.insert(checkpoint_.StoredName(name));
  if (on_progress_) {
    on_progress_(static_cast<float>(taken_.size()) / static_cast<float>(tensor_count_));
  }
}

absl::StatusOr<DecoderWeights> LoadDecoderEnds(WeightLoader& loader, const ModelConfig& config) {
  DecoderWeights weights;
  BATON_ASSIGN_OR_RETURN(weights.embedding, loader.Matrix("model.embed_tokens.weight",
                                                          config.vocab_size, config.hidden));
  BATON_ASSIGN_OR_RETURN(weights.output_norm, loader.Norm("model.norm.weight", config.hidden));
  if (config.tied_embeddings) return weights;
  BATON_ASSIGN_OR_RETURN(weights.output,
                         loader.Matrix("lm_head.weight", config.vocab_size, config.hidden));
  return weights;
}

}  // namespace baton::models
