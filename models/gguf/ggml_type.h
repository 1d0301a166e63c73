// The tensor types of GGUF, by their numbers in the file (enum ggml_type of ggml).
#pragma once

#include <cstdint>
#include <string>

namespace baton::models {

enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 8,
  kBF16 = 30,
};

// Shape of a type that can be read; block_elements 0 for every other number.
struct GgmlTypeLayout {
  uint32_t block_elements = 0;
  uint32_t block_bytes = 0;
};
GgmlTypeLayout LayoutOf(GgmlType type);

// "Q4_1"; for numbers that ggml does not have either "type 77".
std::string GgmlTypeName(GgmlType type);

// "F32, F16, BF16, Q8_0, Q4_0, Q4_1", for messages.
std::string ReadableGgmlTypes();

}  // namespace baton::models
