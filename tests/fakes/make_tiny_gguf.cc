// Writes T0 to a file: make_tiny_gguf OUTPUT [SEED [f32|f16|q8_0|q4_0|q4_1 [LAYERS [CONTEXT]]]].
// With many layers it is slow enough to be caught at a token of one's choice.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/fakes/tiny_gguf.h"

int main(int argc, char** argv) {
  using baton::models::GgmlType;
  const std::map<std::string, GgmlType> types = {{"f32", GgmlType::kF32},
                                                 {"f16", GgmlType::kF16},
                                                 {"q8_0", GgmlType::kQ8_0},
                                                 {"q4_0", GgmlType::kQ4_0},
                                                 {"q4_1", GgmlType::kQ4_1}};
  const auto type = types.find(argc > 3 ? argv[3] : "q4_1");
  if (argc < 2 || argc > 6 || type == types.end()) {
    std::fprintf(
        stderr,
        "usage: make_tiny_gguf OUTPUT [SEED [f32|f16|q8_0|q4_0|q4_1 [LAYERS [CONTEXT]]]]\n");
    return 2;
  }
  baton::fakes::TinyModel model;
  if (argc > 2) model.seed = std::strtoull(argv[2], nullptr, 10);
  model.type = type->second;
  if (argc > 4) model.layers = std::max(1, std::atoi(argv[4]));
  if (argc > 5) model.context = std::atoi(argv[5]);
  const std::string bytes = baton::fakes::TinyGguf(model);
  std::FILE* file = std::fopen(argv[1], "wb");
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() ||
      std::fclose(file) != 0) {
    std::perror(argv[1]);
    return 1;
  }
  return 0;
}
