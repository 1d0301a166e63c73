// Four-bit weights of safetensors checkpoints: AWQ (AutoAWQ's "gemm" version) and GPTQ.
//
// Both store w[output][input] = (q - z) * scale with q in `<base>.qweight`, a zero point z and a
// scale for each output and group of inputs in `<base>.qzeros` and `<base>.scales`; eight numbers
// share an int32.
//
//   AWQ    qweight [inputs, outputs / 8], qzeros [groups, outputs / 8]; bits 4 i of a word belong
//          to its output 0, 2, 4, 6, 1, 3, 5, 7
//   GPTQ   qweight [inputs / 8, outputs], qzeros [groups, outputs / 8], in order; z is stored less
//          one (but not where checkpoint_format is "gptq_v2"). `g_idx` gives the group of each
//          input; with activation order (desc_act) it is not the input divided by the group size
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "device/block_formats.h"
#include "device/tensor.h"
#include "models/checkpoint.h"

namespace baton::models {

struct Int4Matrix {
  // INT4_ZERO, or F32 where groups are no multiples of 32 or inputs are out of order: the same
  // values in eight times the memory.
  device::DType dtype = device::StoredFormat::kInt4Zero;
  int64_t rows = 0, cols = 0;
  std::vector<uint8_t> blocks;       // for INT4_ZERO
  std::vector<float> floats;         // for F32
  std::vector<std::string> tensors;  // of the file, that it was read from

  device::StoredTensor stored() const;
};

// Whether the weight `<base>.weight` is stored in four bits.
bool IsInt4(const Checkpoint& checkpoint, const std::string& base);

// The weight [rows, cols]. InvalidArgument names what quantization_config says and what is allowed,
// or the tensor whose type, shape or content is wrong.
absl::StatusOr<Int4Matrix> ReadInt4(const Checkpoint& checkpoint, const std::string& base,
                                    int64_t rows, int64_t cols);

}  // namespace baton::models
