#include "models/text/tokenizer.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/text/abi_results.h"
#include "models/text/folder_texts.h"
#include "models/text/gguf_vocabulary.h"
#include "models/text/text_abi.h"
#include "models/text/utf8.h"

namespace baton::models::text {
namespace {

std::vector<BatonBytes> Views(const std::vector<absl::string_view>& texts) {
  std::vector<BatonBytes> views(texts.size());
  std::transform(texts.begin(), texts.end(), views.begin(), View);
  return views;
}

struct FreeTokenizer {
  void operator()(BatonTokenizer* tokenizer) const { baton_tokenizer_free(tokenizer); }
};
struct FreeChatTemplate {
  void operator()(BatonChatTemplate* chat_template) const {
    baton_chat_template_free(chat_template);
  }
};

// Seconds since 1970-01-01 00:00 local time.
int64_t LocalSeconds() {
  const time_t now = time(nullptr);
  struct tm local = {};
  if (localtime_r(&now, &local) == nullptr) return now;
  return static_cast<int64_t>(now) + local.tm_gmtoff;
}

}  // namespace

struct Tokenizer::State {
  std::unique_ptr<BatonTokenizer, FreeTokenizer> tokenizer;
  // Null where the file has no template or one that does not compile; then template_status says so.
  std::unique_ptr<BatonChatTemplate, FreeChatTemplate> chat_template;
  absl::Status template_status;
  std::string template_source;
  std::vector<bool> special;  // by id
  int32_t vocab_size = 0;
  bool add_bos = false, add_eos = false;
  int32_t bos_id = -1, eos_id = -1;
  std::vector<int32_t> eos_ids;

  absl::Status MakeTokenizer(const GgufVocabulary& vocabulary);
  absl::Status MakeTokenizer(const std::string& folder, const FolderTexts& texts);
  // `globals`: the special tokens that templates may name.
  void CompileTemplate(const std::string& path, const std::string& source,
                       const nlohmann::json& globals);
};

absl::Status Tokenizer::State::MakeTokenizer(const GgufVocabulary& vocabulary) {
  const std::vector<BatonBytes> tokens = Views(vocabulary.tokens);
  const std::vector<BatonBytes> merges = Views(vocabulary.merges);
  const BatonVocabulary raw = {
      .model = View(vocabulary.model),
      .pre = View(vocabulary.pre),
      .tokens = tokens.data(),
      .token_count = tokens.size(),
      .token_types = vocabulary.token_types.data(),
      .token_type_count = vocabulary.token_types.size(),
      .scores = vocabulary.scores.data(),
      .score_count = vocabulary.scores.size(),
      .merges = merges.data(),
      .merge_count = merges.size(),
      .charsmap = {vocabulary.charsmap.data(), vocabulary.charsmap.size()},
      .add_space_prefix = vocabulary.add_space_prefix,
      .remove_extra_whitespaces = vocabulary.remove_extra_whitespaces,
  };
  BatonTokenizer* made = nullptr;
  BatonBuffer error;
  const BatonTextCode code = baton_tokenizer_new(&raw, &made, &error);
  if (code != BATON_TEXT_OK) return TakeError(code, absl::StrCat(vocabulary.path, ": "), error);
  tokenizer.reset(made);
  vocab_size = static_cast<int32_t>(tokens.size());
  for (int32_t type : vocabulary.token_types) special.push_back(IsSpecialTokenType(type));
  add_bos = vocabulary.add_bos.value_or(baton_tokenizer_adds_bos(made));
  add_eos = vocabulary.add_eos.value_or(baton_tokenizer_adds_eos(made));
  bos_id = vocabulary.bos_id;
  const auto eos = vocabulary.named_ids.find("eos_token");
  if (eos != vocabulary.named_ids.end()) eos_id = eos->second;
  eos_ids = vocabulary.eos_ids;
  return absl::OkStatus();
}

absl::Status Tokenizer::State::MakeTokenizer(const std::string& folder, const FolderTexts& texts) {
  BatonTokenizer* made = nullptr;
  BatonBuffer error;
  const BatonTextCode code = baton_tokenizer_from_json(View(texts.tokenizer_json), &made, &error);
  if (code != BATON_TEXT_OK) {
    return TakeError(code, absl::StrCat(folder, "/tokenizer.json: "), error);
  }
  tokenizer.reset(made);
  // Models pad their vocabularies: the ids behind the tokenizer's stand for nothing.
  const int64_t tokens = static_cast<int64_t>(baton_tokenizer_size(made));
  vocab_size = static_cast<int32_t>(std::max(tokens, texts.vocab_size));
  special.assign(vocab_size, false);
  BatonIds special_ids;
  baton_tokenizer_special_ids(made, &special_ids);
  for (size_t i = 0; i < special_ids.size; ++i) special[special_ids.data[i]] = true;
  baton_ids_free(special_ids);
  const auto id_of = [&](const char* name) {
    const auto named = texts.named_tokens.find(name);
    return named == texts.named_tokens.end() ? -1
                                             : baton_tokenizer_id_of(made, View(named->second));
  };
  const int32_t first = baton_tokenizer_first_id(made);
  add_bos = texts.add_bos.value_or(first >= 0);
  bos_id = first >= 0 ? first : id_of("bos_token");
  eos_ids = texts.eos_ids;
  eos_ids.push_back(id_of("eos_token"));
  std::vector<int32_t> known;
  for (const int32_t id : eos_ids) {
    if (id < 0 || id >= vocab_size) continue;
    if (std::find(known.begin(), known.end(), id) == known.end()) known.push_back(id);
  }
  eos_ids = std::move(known);
  return absl::OkStatus();
}

void Tokenizer::State::CompileTemplate(const std::string& path, const std::string& source,
                                       const nlohmann::json& globals) {
  template_source = source;
  if (template_source.empty()) {
    template_status = absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": the model has no chat template (tokenizer.chat_template of a GGUF file, "
                     "chat_template.jinja or chat_template in tokenizer_config.json of a folder)"));
    return;
  }
  const std::string globals_json = globals.dump();
  BatonChatTemplate* made = nullptr;
  BatonBuffer error;
  const BatonTextCode code =
      baton_chat_template_new(View(template_source), View(globals_json), &made, &error);
  if (code != BATON_TEXT_OK) {
    template_status = TakeError(code, absl::StrCat(path, ": "), error);
    return;
  }
  chat_template.reset(made);
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const std::string& path) {
  BATON_ASSIGN_OR_RETURN(const std::shared_ptr<const GgufFile> file, GgufFile::Open(path));
  BATON_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadVocabulary(*file));
  auto state = std::make_unique<State>();
  BATON_RETURN_IF_ERROR(state->MakeTokenizer(vocabulary));
  nlohmann::json globals = nlohmann::json::object();
  for (const auto& [name, id] : vocabulary.named_ids) {
    globals[name] = std::string(vocabulary.tokens[id]);
  }
  state->CompileTemplate(path, vocabulary.chat_template, globals);
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(state)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFolder(const std::string& folder) {
  BATON_ASSIGN_OR_RETURN(const FolderTexts texts, ReadFolderTexts(folder));
  auto state = std::make_unique<State>();
  BATON_RETURN_IF_ERROR(state->MakeTokenizer(folder, texts));
  state->CompileTemplate(folder, texts.chat_template, texts.named_tokens);
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(state)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& path) {
  return std::filesystem::is_directory(path) ? FromFolder(path) : FromGguf(path);
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(absl::string_view text, bool parse_special,
                                                       bool add_bos) const {
  BatonIds raw;
  BatonBuffer error;
  const BatonTextCode code =
      baton_tokenizer_encode(state_->tokenizer.get(), View(text), parse_special, &raw, &error);
  if (code != BATON_TEXT_OK) return TakeError(code, "tokenizer: ", error);
  std::vector<int32_t> ids;
  ids.reserve(raw.size + 2);
  if (add_bos && state_->add_bos && state_->bos_id >= 0) ids.push_back(state_->bos_id);
  ids.insert(ids.end(), raw.data, raw.data + raw.size);
  // EOS goes with BOS: few files want it (tokenizer.ggml.add_eos_token).
  if (add_bos && state_->add_eos && state_->eos_id >= 0) ids.push_back(state_->eos_id);
  baton_ids_free(raw);
  return ids;
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const int32_t> ids,
                                              bool skip_special) const {
  std::string bytes;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= state_->vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("token id ", ids[i], " at position ", i,
                                                     " is outside the vocabulary of ",
                                                     state_->vocab_size, " tokens"));
    }
    if (skip_special && IsSpecial(ids[i])) continue;
    const BatonBytes token = baton_tokenizer_token_bytes(state_->tokenizer.get(), ids[i]);
    bytes.append(reinterpret_cast<const char*>(token.data), token.size);
  }
  std::string text;
  text.reserve(bytes.size());
  AppendUtf8(bytes, /*at_end=*/true, text);
  return text;
}

std::string Tokenizer::TokenBytes(int32_t id) const {
  if (id < 0) return "";
  const BatonBytes token = baton_tokenizer_token_bytes(state_->tokenizer.get(), id);
  return std::string(reinterpret_cast<const char*>(token.data), token.size);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < state_->vocab_size && state_->special[id];
}

int32_t Tokenizer::vocab_size() const { return state_->vocab_size; }
bool Tokenizer::add_bos() const { return state_->add_bos; }
int32_t Tokenizer::bos_id() const { return state_->bos_id; }
const std::vector<int32_t>& Tokenizer::eos_ids() const { return state_->eos_ids; }
const std::string& Tokenizer::chat_template() const { return state_->template_source; }

const BatonTokenizer* Tokenizer::abi() const { return state_->tokenizer.get(); }

absl::StatusOr<std::string> Tokenizer::RenderChat(absl::string_view messages_json,
                                                  bool add_generation_prompt,
                                                  absl::string_view variables_json) const {
  BATON_RETURN_IF_ERROR(state_->template_status);
  BatonBuffer out;
  BatonBuffer error;
  const BatonTextCode code = baton_chat_template_render(
      state_->chat_template.get(), View(messages_json), View(variables_json), add_generation_prompt,
      LocalSeconds(), &out, &error);
  if (code != BATON_TEXT_OK) return TakeError(code, "", error);
  return TakeString(out);
}

}  // namespace baton::models::text
