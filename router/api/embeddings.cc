// Embeddings: what is asked for, and the list of vectors.
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "router/api/embeddings_api.h"
#include "router/json_text.h"
#include "router/unsupported_fields.h"

namespace baton::router {
namespace {

constexpr size_t kMaxWordBytes = 32;

// The bytes of the floats in their order, the lowest byte of each first.
std::string LittleEndian(const std::vector<float>& values) {
  std::string bytes;
  bytes.reserve(values.size() * sizeof(float));
  for (const float value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(bits >> shift));
  }
  return bytes;
}

class EmbeddingsWriter final : public AnswerWriter {
 public:
  EmbeddingsWriter(const AnswerShape& shape, const AnswerHead& head)
      : base64_(shape.base64), head_(head) {}

  void Add(const Delta& delta, std::string*) override { vectors_[delta.choice] = delta.embedding; }

  void End(const Outcome& outcome, std::string* out) override {
    absl::StrAppend(out, "{\"id\":\"embd-", head_.id,
                    "\",\"object\":\"list\",\"created\":", head_.created_s, ",\"model\":");
    AppendJsonString(head_.model, out);
    *out += ",\"data\":[";
    for (const auto& [index, values] : vectors_) {
      if (out->back() != '[') out->push_back(',');
      absl::StrAppend(out, "{\"object\":\"embedding\",\"index\":", index, ",\"embedding\":");
      AppendValues(values, out);
      *out += "}";
    }
    const int64_t tokens = outcome.usage.prompt_tokens;
    absl::StrAppend(out, "],\"usage\":{\"prompt_tokens\":", tokens, ",\"total_tokens\":", tokens,
                    "}}");
  }

 private:
  void AppendValues(const std::vector<float>& values, std::string* out) const {
    if (base64_) {
      absl::StrAppend(out, "\"", absl::Base64Escape(LittleEndian(values)), "\"");
      return;
    }
    out->push_back('[');
    for (const float value : values) {
      if (out->back() != '[') out->push_back(',');
      absl::StrAppendFormat(out, "%.9g", value);
    }
    out->push_back(']');
  }

  const bool base64_;
  const AnswerHead head_;
  std::map<int32_t, std::vector<float>> vectors_;  // by the number of the text
};

}  // namespace

std::optional<ApiError> ParseEmbeddingsRequest(const Json& body, int32_t vocab_size,
                                               ApiRequest* request) {
  FieldReader fields(body);
  Generation& generation = request->generation;
  request->dialect = Dialect::kEmbeddings;
  ReadPrompts(fields, "input", kMaxEmbeddings, vocab_size, &generation);
  ReadAdmission(fields, &generation);
  generation.add_special_tokens = fields.Boolean("add_special_tokens").value_or(true);
  generation.embed.emplace().set_normalize(fields.Boolean("normalize").value_or(true));
  generation.stop.set_max_tokens(1);  // what nodes call a sequence without a continuation
  const std::string format = fields.String("encoding_format", kMaxWordBytes).value_or("float");
  request->shape.base64 = format == "base64";
  if (format != "float" && format != "base64") {
    fields.Fail("encoding_format", "must be 'float' or 'base64'.");
  }
  if (fields.Raw("dimensions") != nullptr) {
    fields.Fail("dimensions", "is not supported: this model's vectors cannot be shortened.");
  }
  RefuseUnsupportedFields(fields);
  return fields.error();
}

std::unique_ptr<AnswerWriter> MakeEmbeddingsWriter(const AnswerShape& shape,
                                                   const AnswerHead& head) {
  return std::make_unique<EmbeddingsWriter>(shape, head);
}

}  // namespace baton::router
