// T0: a tiny Llama model with seeded random weights and a working tokenizer, so that whole clusters
// run in tests without a download. Its text is noise, but always the same noise.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/gguf/ggml_type.h"
#include "tests/fakes/gguf_writer.h"

namespace baton::fakes {

struct TinyModel {
  uint64_t seed = 1;
  models::GgmlType type =
      models::GgmlType::kQ4_1;  // of the matrices; embeddings are Q8_0 when it is Q4_0 or Q4_1
  int32_t layers = 4;
  int32_t hidden = 64;
  int32_t query_heads = 4;
  int32_t kv_heads = 2;
  int32_t head_dim = 16;
  int32_t intermediate = 160;
  int32_t vocab = 1024;
  int32_t context = 4096;
  float norm_epsilon = 1e-5f;
  bool tied = false;
  bool biases = false;    // on q, k, v and the attention output
  bool tokenizer = true;  // needs a vocabulary of at least 259
  // Adds metadata or tensors of the test's own. May be empty.
  std::function<void(GgufWriter&)> extra;
};

// The bytes of a GGUF file. Equal options give equal bytes.
std::string TinyGguf(const TinyModel& model);

// The vocabulary: <|endoftext|>, <|im_start|>, <|im_end|>, the 256 byte symbols of GPT-2, then what
// each merge makes.
struct TinyVocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;  // 3: control, 1: normal
  std::vector<std::string> merges;
};
TinyVocabulary MakeTinyVocabulary(int32_t size);

}  // namespace baton::fakes
