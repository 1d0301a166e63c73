#include "models/gguf/ggml_type.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace baton::models {

GgmlTypeLayout LayoutOf(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return {1, 4};
    case GgmlType::kF16:
    case GgmlType::kBF16:
      return {1, 2};
    case GgmlType::kQ4_0:
      return {32, 18};
    case GgmlType::kQ4_1:
      return {32, 20};
    case GgmlType::kQ8_0:
      return {32, 34};
  }
  return {};
}

std::string GgmlTypeName(GgmlType type) {
  // By number; empty where ggml has retired the number.
  static constexpr const char* kNames[] = {
      "F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
      "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
      "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
      "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
      "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};
  const uint32_t number = static_cast<uint32_t>(type);
  if (number < std::size(kNames) && kNames[number][0] != '\0') return kNames[number];
  return absl::StrCat("type ", number);
}

std::string ReadableGgmlTypes() { return "F32, F16, BF16, Q8_0, Q4_0, Q4_1"; }

}  // namespace baton::models
