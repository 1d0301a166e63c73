#include "models/text/grammar.h"

#include <memory>

#include "base/status_macros.h"
#include "models/text/abi_results.h"
#include "models/text/grammar_abi.h"

namespace baton::models::text {
namespace {

// Compiled grammars that are kept for the next request of their kind; each holds up to some MiB.
constexpr size_t kKept = 32;

BatonGrammarKind ToAbi(GrammarKind kind) {
  switch (kind) {
    case GrammarKind::kRegex:
      return BATON_GRAMMAR_REGEX;
    case GrammarKind::kLark:
      return BATON_GRAMMAR_LARK;
    case GrammarKind::kJsonSchema:
      break;
  }
  return BATON_GRAMMAR_JSON_SCHEMA;
}

absl::Status ToStatus(BatonTextCode code, absl::string_view context, BatonBuffer error) {
  if (code == BATON_TEXT_OK) return absl::OkStatus();
  return TakeError(code, context, error);
}

absl::StatusOr<std::unique_ptr<GrammarMatcher>> CopyOf(const BatonMatcher* fresh) {
  BatonMatcher* copy = nullptr;
  BatonBuffer error;
  BATON_RETURN_IF_ERROR(ToStatus(baton_matcher_copy(fresh, &copy, &error), "grammar: ", error));
  return std::make_unique<GrammarMatcher>(copy);
}

}  // namespace

absl::StatusOr<std::string> EmbeddedSchema(absl::string_view schema, bool lenient) {
  BatonBuffer out;
  BatonBuffer error;
  BATON_RETURN_IF_ERROR(
      ToStatus(baton_grammar_schema(View(schema), lenient, &out, &error), "grammar: ", error));
  return TakeString(out);
}

GrammarMatcher::GrammarMatcher(BatonMatcher* matcher) : matcher_(matcher) {}
GrammarMatcher::~GrammarMatcher() { baton_matcher_free(matcher_); }

absl::Status GrammarMatcher::Consume(absl::Span<const int32_t> ids) {
  BatonBuffer error;
  return ToStatus(baton_matcher_consume(matcher_, ids.data(), ids.size(), &error),
                  "grammar: ", error);
}

absl::Status GrammarMatcher::Mask(std::vector<uint32_t>* mask, int32_t vocab_size) {
  mask->resize((static_cast<size_t>(vocab_size) + 31) / 32);
  BatonBuffer error;
  return ToStatus(baton_matcher_mask(matcher_, mask->data(), mask->size(), &error),
                  "grammar: ", error);
}

bool GrammarMatcher::IsComplete() const { return baton_matcher_is_complete(matcher_); }

absl::StatusOr<std::unique_ptr<GrammarCompiler>> GrammarCompiler::Create(
    const Tokenizer& tokenizer) {
  const auto size = static_cast<size_t>(tokenizer.vocab_size());
  const auto special = std::make_unique<bool[]>(size);
  for (size_t id = 0; id < size; ++id) special[id] = tokenizer.IsSpecial(static_cast<int32_t>(id));
  BatonGrammarCompiler* made = nullptr;
  BatonBuffer error;
  BATON_RETURN_IF_ERROR(ToStatus(
      baton_grammar_compiler_new(tokenizer.abi(), special.get(), size, tokenizer.eos_ids().data(),
                                 tokenizer.eos_ids().size(), &made, &error),
      "grammar: ", error));
  return std::unique_ptr<GrammarCompiler>(new GrammarCompiler(made));
}

GrammarCompiler::GrammarCompiler(BatonGrammarCompiler* compiler) : compiler_(compiler) {}
GrammarCompiler::~GrammarCompiler() { baton_grammar_compiler_free(compiler_); }

std::shared_ptr<BatonMatcher> GrammarCompiler::Find(GrammarKind kind, absl::string_view source) {
  MutexLock lock(mutex_);
  for (auto it = latest_.begin(); it != latest_.end(); ++it) {
    if (it->kind != kind || absl::string_view(it->source) != source) continue;
    latest_.splice(latest_.begin(), latest_, it);
    return it->fresh;
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<GrammarMatcher>> GrammarCompiler::Compile(GrammarKind kind,
                                                                         absl::string_view source) {
  if (const auto kept = Find(kind, source)) return CopyOf(kept.get());
  BatonMatcher* made = nullptr;
  BatonBuffer error;
  BATON_RETURN_IF_ERROR(
      ToStatus(baton_grammar_compile(compiler_, ToAbi(kind), View(source), &made, &error),
               "grammar: ", error));
  const std::shared_ptr<BatonMatcher> fresh(made, baton_matcher_free);
  {
    MutexLock lock(mutex_);
    latest_.push_front({kind, std::string(source), fresh});
    if (latest_.size() > kKept) latest_.pop_back();
  }
  return CopyOf(fresh.get());
}

}  // namespace baton::models::text
