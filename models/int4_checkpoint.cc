#include "models/int4_checkpoint.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

constexpr int64_t kPerWord = 8;
constexpr int64_t kBlock = 32;
constexpr int64_t kBlockBytes = 21;  // of INT4_ZERO: float d, byte z, 16 bytes of nibbles
// Where in a word AWQ keeps each of eight outputs.
constexpr int kAwqPlace[kPerWord] = {0, 4, 1, 5, 2, 6, 3, 7};

struct Layout {
  bool awq = false;
  bool zeros_less_one = false;
  int64_t group = 0;
};

absl::StatusOr<Layout> ReadLayout(const HfConfig& config, int64_t cols) {
  BATON_ASSIGN_OR_RETURN(const HfConfig quantisation, config.GetObject("quantization_config"));
  BATON_ASSIGN_OR_RETURN(const std::string method, quantisation.GetString("quant_method"));
  Layout layout;
  if (method == "awq") {
    layout.awq = true;
    BATON_ASSIGN_OR_RETURN(const std::string version, quantisation.GetString("version", "gemm"));
    if (version != "gemm" && version != "GEMM") {
      return quantisation.Refusal("version", "readable is \"gemm\"");
    }
  } else if (method == "gptq") {
    BATON_ASSIGN_OR_RETURN(const std::string format,
                           quantisation.GetString("checkpoint_format", "gptq"));
    if (format != "gptq" && format != "gptq_v2") {
      return quantisation.Refusal("checkpoint_format", "readable are \"gptq\" and \"gptq_v2\"");
    }
    layout.zeros_less_one = format == "gptq";
  } else {
    return quantisation.Refusal("quant_method",
                                "of four-bit weights \"awq\" and \"gptq\" are readable");
  }
  BATON_ASSIGN_OR_RETURN(const int64_t bits, quantisation.GetInt("bits"));
  if (bits != 4) return quantisation.Refusal("bits", "readable are 4");
  BATON_ASSIGN_OR_RETURN(layout.group, quantisation.GetInt("group_size"));
  if (layout.group == -1) layout.group = cols;
  if (layout.group < 1 || cols % layout.group != 0) {
    return quantisation.Refusal("group_size",
                                absl::StrCat("needed -1 or a divisor of ", cols, " inputs"));
  }
  return layout;
}

absl::Status Wrong(const Checkpoint& checkpoint, const std::string& name,
                   const std::string& problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(checkpoint.path(), ": tensor ", Quoted(name), " ", problem));
}

// A tensor of int32 as words; the file promises no alignment.
absl::StatusOr<std::vector<uint32_t>> ReadWords(const Checkpoint& checkpoint,
                                                const std::string& name,
                                                const std::vector<int64_t>& shape,
                                                std::vector<std::string>& taken) {
  BATON_ASSIGN_OR_RETURN(const SafetensorsTensor* tensor, checkpoint.GetRaw(name));
  if (tensor->dtype != "I32" || tensor->shape != shape) {
    const SafetensorsTensor needed{.dtype = "I32", .shape = shape};
    return Wrong(checkpoint, name,
                 absl::StrCat("is ", tensor->dtype, " of shape ", tensor->ShapeText(),
                              ", needed I32 of shape ", needed.ShapeText()));
  }
  std::vector<uint32_t> words(tensor->bytes / sizeof(uint32_t));
  std::memcpy(words.data(), tensor->data, words.size() * sizeof(uint32_t));
  taken.push_back(name);
  return words;
}

absl::StatusOr<std::vector<float>> ReadScales(const Checkpoint& checkpoint, const std::string& name,
                                              int64_t groups, int64_t rows,
                                              std::vector<std::string>& taken) {
  BATON_ASSIGN_OR_RETURN(const device::StoredTensor stored, checkpoint.Get(name));
  if (stored.rows != groups || stored.cols != rows) {
    return Wrong(checkpoint, name,
                 absl::StrCat("is [", stored.rows, ", ", stored.cols, "], needed [", groups, ", ",
                              rows, "]"));
  }
  std::vector<float> scales(static_cast<size_t>(groups * rows));
  for (size_t i = 0; i < scales.size(); ++i) {
    if (stored.dtype == device::DType::kF32) {
      scales[i] = static_cast<const float*>(stored.data)[i];
    } else {
      const uint16_t bits = static_cast<const uint16_t*>(stored.data)[i];
      scales[i] = stored.dtype == device::DType::kF16 ? device::HalfToFloat(bits)
                                                      : device::BFloat16ToFloat(bits);
    }
  }
  taken.push_back(name);
  return scales;
}

// The numbers of a checkpoint, by output and input.
struct Numbers {
  Layout layout;
  int64_t rows = 0;
  std::vector<uint32_t> weights, zeros;
  std::vector<float> scales;
  std::vector<int64_t> group_of;  // by input

  int Weight(int64_t row, int64_t col) const {
    if (layout.awq) {
      const uint32_t word = weights[col * (rows / kPerWord) + row / kPerWord];
      return word >> (4 * kAwqPlace[row % kPerWord]) & 0xf;
    }
    return weights[col / kPerWord * rows + row] >> (4 * (col % kPerWord)) & 0xf;
  }
  int Zero(int64_t row, int64_t group) const {
    const uint32_t word = zeros[group * (rows / kPerWord) + row / kPerWord];
    if (layout.awq) return word >> (4 * kAwqPlace[row % kPerWord]) & 0xf;
    const int stored = word >> (4 * (row % kPerWord)) & 0xf;
    return layout.zeros_less_one ? (stored + 1) & 0xf : stored;
  }
  float Scale(int64_t row, int64_t group) const { return scales[group * rows + row]; }
};

absl::StatusOr<std::vector<int64_t>> ReadGroups(const Checkpoint& checkpoint,
                                                const std::string& name, int64_t cols,
                                                int64_t group, std::vector<std::string>& taken) {
  std::vector<int64_t> group_of(static_cast<size_t>(cols));
  for (int64_t k = 0; k < cols; ++k) group_of[k] = k / group;
  if (!checkpoint.Has(name)) return group_of;
  BATON_ASSIGN_OR_RETURN(const std::vector<uint32_t> stored,
                         ReadWords(checkpoint, name, {cols}, taken));
  for (int64_t k = 0; k < cols; ++k) {
    if (stored[k] >= cols / group) {
      return Wrong(checkpoint, name,
                   absl::StrCat("puts input ", k, " into group ", static_cast<int32_t>(stored[k]),
                                " of ", cols / group));
    }
    group_of[k] = stored[k];
  }
  return group_of;
}

// Runs of 32 inputs share a group.
bool HasBlocks(const std::vector<int64_t>& group_of) {
  if (group_of.size() % kBlock != 0) return false;
  for (size_t k = 0; k < group_of.size(); ++k) {
    if (group_of[k] != group_of[k / kBlock * kBlock]) return false;
  }
  return true;
}

void FillBlocks(const Numbers& numbers, Int4Matrix& matrix) {
  const int64_t blocks = matrix.cols / kBlock;
  matrix.blocks.resize(static_cast<size_t>(matrix.rows * blocks * kBlockBytes));
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = b * kBlock, group = numbers.group_of[first];
    for (int64_t row = 0; row < matrix.rows; ++row) {
      uint8_t* out = matrix.blocks.data() + (row * blocks + b) * kBlockBytes;
      const float scale = numbers.Scale(row, group);
      std::memcpy(out, &scale, sizeof(scale));
      out[4] = static_cast<uint8_t>(numbers.Zero(row, group));
      for (int64_t i = 0; i < 16; ++i) {
        out[5 + i] = static_cast<uint8_t>(numbers.Weight(row, first + i) |
                                          numbers.Weight(row, first + 16 + i) << 4);
      }
    }
  }
}

void FillFloats(const Numbers& numbers, Int4Matrix& matrix) {
  matrix.dtype = device::DType::kF32;
  matrix.floats.resize(static_cast<size_t>(matrix.rows * matrix.cols));
  for (int64_t k = 0; k < matrix.cols; ++k) {
    const int64_t group = numbers.group_of[k];
    for (int64_t row = 0; row < matrix.rows; ++row) {
      const int q = numbers.Weight(row, k) - numbers.Zero(row, group);
      matrix.floats[row * matrix.cols + k] = static_cast<float>(q) * numbers.Scale(row, group);
    }
  }
}

}  // namespace

device::StoredTensor Int4Matrix::stored() const {
  const void* data = dtype == device::DType::kF32 ? static_cast<const void*>(floats.data())
                                                  : static_cast<const void*>(blocks.data());
  return {dtype, rows, cols, data};
}

bool IsInt4(const Checkpoint& checkpoint, const std::string& base) {
  return checkpoint.gguf() == nullptr && checkpoint.Has(base + ".qweight");
}

absl::StatusOr<Int4Matrix> ReadInt4(const Checkpoint& checkpoint, const std::string& base,
                                    int64_t rows, int64_t cols) {
  Numbers numbers;
  numbers.rows = rows;
  BATON_ASSIGN_OR_RETURN(numbers.layout, ReadLayout(*checkpoint.hf_config(), cols));
  if (rows % kPerWord != 0 || cols % kPerWord != 0) {
    return Wrong(checkpoint, base + ".qweight",
                 absl::StrCat("of [", rows, ", ", cols, "]: both must be multiples of ", kPerWord));
  }
  Int4Matrix matrix{.rows = rows, .cols = cols};
  const int64_t groups = cols / numbers.layout.group;
  const std::vector<int64_t> shape = numbers.layout.awq
                                         ? std::vector<int64_t>{cols, rows / kPerWord}
                                         : std::vector<int64_t>{cols / kPerWord, rows};
  BATON_ASSIGN_OR_RETURN(numbers.weights,
                         ReadWords(checkpoint, base + ".qweight", shape, matrix.tensors));
  BATON_ASSIGN_OR_RETURN(numbers.zeros, ReadWords(checkpoint, base + ".qzeros",
                                                  {groups, rows / kPerWord}, matrix.tensors));
  BATON_ASSIGN_OR_RETURN(numbers.scales,
                         ReadScales(checkpoint, base + ".scales", groups, rows, matrix.tensors));
  BATON_ASSIGN_OR_RETURN(numbers.group_of, ReadGroups(checkpoint, base + ".g_idx", cols,
                                                      numbers.layout.group, matrix.tensors));
  if (HasBlocks(numbers.group_of)) {
    FillBlocks(numbers, matrix);
  } else {
    FillFloats(numbers, matrix);
  }
  return matrix;
}

}  // namespace baton::models
