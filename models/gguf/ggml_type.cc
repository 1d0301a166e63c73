#include "models/gguf/ggml_type.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace baton::models {
namespace {

struct Known {
  const char* name;  // empty where ggml has retired the number
  GgmlTypeLayout layout = {};
};

// By number. Those without a layout cannot be read.
constexpr Known kKnown[] = {{"F32", {1, 4}},
                            {"F16", {1, 2}},
                            {"Q4_0", {32, 18}},
                            {"Q4_1", {32, 20}},
                            {""},
                            {""},
                            {"Q5_0", {32, 22}},
                            {"Q5_1", {32, 24}},
                            {"Q8_0", {32, 34}},
                            {"Q8_1"},
                            {"Q2_K", {256, 84}},
                            {"Q3_K", {256, 110}},
                            {"Q4_K", {256, 144}},
                            {"Q5_K", {256, 176}},
                            {"Q6_K", {256, 210}},
                            {"Q8_K"},
                            {"IQ2_XXS"},
                            {"IQ2_XS"},
                            {"IQ3_XXS"},
                            {"IQ1_S"},
                            {"IQ4_NL", {32, 18}},
                            {"IQ3_S"},
                            {"IQ2_S"},
                            {"IQ4_XS", {256, 136}},
                            {"I8"},
                            {"I16"},
                            {"I32"},
                            {"I64"},
                            {"F64"},
                            {"IQ1_M"},
                            {"BF16", {1, 2}},
                            {""},
                            {""},
                            {""},
                            {"TQ1_0"},
                            {"TQ2_0"},
                            {""},
                            {""},
                            {""},
                            {"MXFP4", {32, 17}},
                            {"NVFP4"}};

}  // namespace

GgmlTypeLayout LayoutOf(GgmlType type) {
  const uint32_t number = static_cast<uint32_t>(type);
  return number < std::size(kKnown) ? kKnown[number].layout : GgmlTypeLayout{};
}

std::string GgmlTypeName(GgmlType type) {
  const uint32_t number = static_cast<uint32_t>(type);
  if (number < std::size(kKnown) && kKnown[number].name[0] != '\0') return kKnown[number].name;
  return absl::StrCat("type ", number);
}

std::string ReadableGgmlTypes() {
  std::string names;
  for (const Known& known : kKnown) {
    if (known.layout.block_elements == 0) continue;
    absl::StrAppend(&names, names.empty() ? "" : ", ", known.name);
  }
  return names;
}

}  // namespace baton::models
