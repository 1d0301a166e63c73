#include "tests/fakes/tiny_gguf.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/rng.h"
#include "tests/fakes/gguf_writer.h"

namespace baton::fakes {
namespace {

using models::GgmlType;

constexpr char kChatTemplate[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

// GPT-2 writes byte b as the character of its own code where that is printable, otherwise as 256,
// 257, ...
std::vector<std::string> ByteSymbols() {
  std::vector<std::string> symbols(256);
  int next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const int code = printable ? b : next++;
    if (code < 0x80) {
      symbols[b] = std::string(1, static_cast<char>(code));
    } else {
      symbols[b] = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
    }
  }
  return symbols;
}

// Random weights of one tensor: sums of four uniforms, near enough to normal.
std::vector<float> RandomWeights(uint64_t seed, uint64_t tensor, int64_t count, float deviation) {
  std::vector<float> values(count);
  SeededRng rng(CounterRandom(seed, tensor));
  for (float& value : values) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(rng.Next() >> 40) * 0x1p-24f - 0.5f;
    value = sum * std::sqrt(3.0f) * deviation;
  }
  return values;
}

class TensorWriter {
 public:
  TensorWriter(const TinyModel& model, GgufWriter& writer) : model_(model), writer_(writer) {}

  // A matrix whose outputs have about `gain` times the deviation of its inputs.
  void Matrix(const std::string& name, GgmlType type, int32_t rows, int32_t cols, float gain) {
    const float deviation = gain / std::sqrt(static_cast<float>(cols));
    const std::vector<float> values =
        RandomWeights(model_.seed, tensor_++, int64_t{rows} * cols, deviation);
    writer_.AddTensor(name, {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)}, type,
                      Encode(type, values));
  }

  void Vector(const std::string& name, int32_t size, float mean, float deviation) {
    std::vector<float> values = RandomWeights(model_.seed, tensor_++, size, deviation);
    for (float& value : values) value += mean;
    writer_.AddTensor(name, {static_cast<uint64_t>(size)}, GgmlType::kF32,
                      Encode(GgmlType::kF32, values));
  }

 private:
  const TinyModel& model_;
  GgufWriter& writer_;
  uint64_t tensor_ = 0;
};

void AddModelMetadata(const TinyModel& model, GgufWriter& writer) {
  writer.AddString("general.architecture", "llama");
  writer.AddString("general.name", absl::StrCat("T0 seed ", model.seed));
  writer.AddUint("llama.block_count", model.layers);
  writer.AddUint("llama.context_length", model.context);
  writer.AddUint("llama.embedding_length", model.hidden);
  writer.AddUint("llama.feed_forward_length", model.intermediate);
  writer.AddUint("llama.attention.head_count", model.query_heads);
  writer.AddUint("llama.attention.head_count_kv", model.kv_heads);
  writer.AddUint("llama.attention.key_length", model.head_dim);
  writer.AddUint("llama.attention.value_length", model.head_dim);
  writer.AddFloat("llama.attention.layer_norm_rms_epsilon", model.norm_epsilon);
  writer.AddFloat("llama.rope.freq_base", 10000.0f);
  writer.AddUint("llama.rope.dimension_count", model.head_dim);
  writer.AddUint("llama.vocab_size", model.vocab);
}

void AddTokenizer(const TinyModel& model, GgufWriter& writer) {
  const TinyVocabulary vocabulary = MakeTinyVocabulary(model.vocab);
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", "smollm");
  writer.AddStrings("tokenizer.ggml.tokens", vocabulary.tokens);
  writer.AddInts("tokenizer.ggml.token_type", vocabulary.types);
  writer.AddStrings("tokenizer.ggml.merges", vocabulary.merges);
  writer.AddUint("tokenizer.ggml.bos_token_id", 1);
  writer.AddUint("tokenizer.ggml.eos_token_id", 2);
  writer.AddUint("tokenizer.ggml.unknown_token_id", 0);
  writer.AddBool("tokenizer.ggml.add_bos_token", false);
  writer.AddBool("tokenizer.ggml.add_space_prefix", false);
  writer.AddString("tokenizer.chat_template", kChatTemplate);
}

void AddLayer(const TinyModel& model, int32_t index, TensorWriter& tensors) {
  const std::string prefix = absl::StrCat("blk.", index, ".");
  const int32_t query_cols = model.query_heads * model.head_dim;
  const int32_t kv_cols = model.kv_heads * model.head_dim;
  tensors.Vector(prefix + "attn_norm.weight", model.hidden, 1.0f, 0.1f);
  tensors.Matrix(prefix + "attn_q.weight", model.type, query_cols, model.hidden, 1.3f);
  tensors.Matrix(prefix + "attn_k.weight", model.type, kv_cols, model.hidden, 1.3f);
  tensors.Matrix(prefix + "attn_v.weight", model.type, kv_cols, model.hidden, 1.0f);
  tensors.Matrix(prefix + "attn_output.weight", model.type, model.hidden, query_cols, 1.0f);
  if (model.biases) {
    tensors.Vector(prefix + "attn_q.bias", query_cols, 0.0f, 0.3f);
    tensors.Vector(prefix + "attn_k.bias", kv_cols, 0.0f, 0.3f);
    tensors.Vector(prefix + "attn_v.bias", kv_cols, 0.0f, 0.3f);
    tensors.Vector(prefix + "attn_output.bias", model.hidden, 0.0f, 0.3f);
  }
  tensors.Vector(prefix + "ffn_norm.weight", model.hidden, 1.0f, 0.1f);
  tensors.Matrix(prefix + "ffn_gate.weight", model.type, model.intermediate, model.hidden, 1.0f);
  tensors.Matrix(prefix + "ffn_up.weight", model.type, model.intermediate, model.hidden, 1.0f);
  tensors.Matrix(prefix + "ffn_down.weight", model.type, model.hidden, model.intermediate, 1.0f);
}

}  // namespace

TinyVocabulary MakeTinyVocabulary(int32_t size) {
  TinyVocabulary vocabulary;
  vocabulary.tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  vocabulary.types.assign(vocabulary.tokens.size(), 3);
  const std::vector<std::string> bytes = ByteSymbols();
  vocabulary.tokens.insert(vocabulary.tokens.end(), bytes.begin(), bytes.end());
  BATON_CHECK(static_cast<size_t>(size) >= vocabulary.tokens.size(), "too small a vocabulary");

  // Letters by their frequency in English: after a space, in pairs, then pairs after a space.
  const std::string letters = "etaoinshrdlucmfwypvbgkqjxz";
  const std::string& space = bytes[' '];
  const auto merge = [&](const std::string& left, const std::string& right) {
    if (vocabulary.tokens.size() >= static_cast<size_t>(size)) return;
    vocabulary.tokens.push_back(left + right);
    vocabulary.merges.push_back(left + " " + right);
  };
  for (const char letter : letters) merge(space, std::string(1, letter));
  for (const char first : letters) {
    for (const char second : letters) merge(std::string(1, first), std::string(1, second));
  }
  for (const char first : letters) {
    for (const char second : letters) merge(space + first, std::string(1, second));
  }
  BATON_CHECK(vocabulary.tokens.size() == static_cast<size_t>(size), "too large a vocabulary");
  vocabulary.types.resize(size, 1);
  return vocabulary;
}

std::string TinyGguf(const TinyModel& model) {
  GgufWriter writer;
  AddModelMetadata(model, writer);
  if (model.tokenizer) AddTokenizer(model, writer);
  TensorWriter tensors(model, writer);
  const bool four_bits = model.type == GgmlType::kQ4_0 || model.type == GgmlType::kQ4_1;
  const GgmlType embedding_type = four_bits ? GgmlType::kQ8_0 : model.type;
  // Embeddings of deviation 1: Matrix divides by the square root of the columns.
  const float root = std::sqrt(static_cast<float>(model.hidden));
  tensors.Matrix("token_embd.weight", embedding_type, model.vocab, model.hidden, root);
  for (int32_t i = 0; i < model.layers; ++i) AddLayer(model, i, tensors);
  tensors.Vector("output_norm.weight", model.hidden, 1.0f, 0.1f);
  if (!model.tied) {
    tensors.Matrix("output.weight", embedding_type, model.vocab, model.hidden, 2.5f);
  }
  if (model.extra) model.extra(writer);
  return writer.Bytes();
}

}  // namespace baton::fakes
