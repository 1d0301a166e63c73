// What requests that read prompts have in common: the prompts, and who asks.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "router/openai_api.h"

namespace baton::router {
namespace {

constexpr size_t kMaxIdBytes = 1024;
constexpr size_t kMaxSaltBytes = 64;

// Letters that are safe wherever a salt is written: in logs, in keys of metrics.
void ReadCacheSalt(FieldReader& fields, Generation* generation) {
  const std::optional<std::string> salt = fields.String("cache_salt", kMaxIdBytes);
  if (!salt) return;
  if (!IsCacheSalt(*salt)) {
    return fields.Fail("cache_salt", absl::StrCat("must be 1 to ", kMaxSaltBytes,
                                                  " characters of A-Z, a-z, 0-9, '_', '.', '-'."));
  }
  generation->cache_salt = *salt;
}

// A prompt given as token ids.
bool ReadIds(const Json& list, int32_t vocab_size, std::vector<int32_t>* ids) {
  ids->reserve(list.size());
  for (const Json& entry : list) {
    int64_t id = 0;
    if (!ReadInteger(entry, 0, vocab_size - 1, &id)) return false;
    ids->push_back(static_cast<int32_t>(id));
  }
  return true;
}

bool AddPrompt(FieldReader& fields, const char* field, const Json& value, int32_t vocab_size,
               Generation* generation) {
  Prompt prompt;
  prompt.field = field;
  if (value.is_string()) {
    prompt.text = value.get<std::string>();
  } else {
    prompt.kind = Prompt::Kind::kTokens;
    if (!value.is_array() || value.empty() || !ReadIds(value, vocab_size, &prompt.ids)) {
      fields.Fail(field, absl::StrCat("must be a string, a list of strings, a list of token ids "
                                      "in [0, ",
                                      vocab_size - 1,
                                      "] or a list of such lists, "
                                      "none of them empty."));
      return false;
    }
  }
  generation->prompts.push_back(std::move(prompt));
  return true;
}

}  // namespace

void ReadPrompts(FieldReader& fields, const char* field, size_t count_max, int32_t vocab_size,
                 Generation* generation) {
  const Json* prompt = fields.Raw(field);
  if (prompt == nullptr) return fields.Fail(field, "is required.");
  const bool batch = prompt->is_array() && !prompt->empty() &&
                     (prompt->front().is_string() || prompt->front().is_array());
  if (!batch) {
    AddPrompt(fields, field, *prompt, vocab_size, generation);
    return;
  }
  if (prompt->size() > count_max) {
    return fields.Fail(field, absl::StrCat("must hold at most ", count_max, " prompts, holds ",
                                           prompt->size(), "."));
  }
  for (const Json& entry : *prompt) {
    if (entry.type() != prompt->front().type()) {
      return fields.Fail(field, "must hold prompts of one kind.");
    }
    if (!AddPrompt(fields, field, entry, vocab_size, generation)) return;
  }
}

bool IsCacheSalt(absl::string_view salt) {
  if (salt.empty() || salt.size() > kMaxSaltBytes) return false;
  return std::all_of(salt.begin(), salt.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
  });
}

void ReadAdmission(FieldReader& fields, Generation* generation) {
  generation->model = fields.String("model", kMaxIdBytes).value_or("");
  generation->user = fields.String("user", kMaxIdBytes).value_or("");
  generation->priority =
      static_cast<int32_t>(fields.Integer("priority", -kMaxPriority, kMaxPriority).value_or(0));
  generation->ttft_slo_s = 1e-3 * fields.Number("ttft_slo_ms", {0, kMaxSloMs}).value_or(0);
  generation->tpot_slo_s = 1e-3 * fields.Number("tpot_slo_ms", {0, kMaxSloMs}).value_or(0);
  ReadCacheSalt(fields, generation);
}

}  // namespace baton::router
