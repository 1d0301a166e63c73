#include "engine/grammar/grammar_constraint.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/text/tokenizer.h"

namespace baton::engine {
namespace {

using models::text::GrammarCompiler;
using models::text::GrammarKind;
using models::text::GrammarMatcher;

class GrammarConstraint final : public TokenConstraint {
 public:
  explicit GrammarConstraint(std::unique_ptr<GrammarMatcher> matcher)
      : matcher_(std::move(matcher)) {}

  absl::Status Accept(absl::Span<const int32_t> ids) override { return matcher_->Consume(ids); }
  absl::Status Allowed(int32_t vocab_size, std::vector<uint32_t>* mask) override {
    return matcher_->Mask(mask, vocab_size);
  }
  bool IsComplete() const override { return matcher_->IsComplete(); }

 private:
  const std::unique_ptr<GrammarMatcher> matcher_;
};

}  // namespace

absl::StatusOr<GrammarKind> GrammarKindFromProto(v1::Grammar::Kind kind) {
  switch (kind) {
    case v1::Grammar::JSON_SCHEMA:
      return GrammarKind::kJsonSchema;
    case v1::Grammar::REGEX:
      return GrammarKind::kRegex;
    case v1::Grammar::LARK:
      return GrammarKind::kLark;
    default:
      return absl::InvalidArgumentError(absl::StrCat("grammar.kind is ", static_cast<int>(kind),
                                                     ", needs JSON_SCHEMA, REGEX or LARK"));
  }
}

absl::StatusOr<GrammarCompiler*> GrammarConstraints::Compiler() {
  MutexLock lock(mutex_);
  if (compiler_ == nullptr) {
    BATON_ASSIGN_OR_RETURN(const std::unique_ptr<models::text::Tokenizer> tokenizer,
                           models::text::Tokenizer::Open(model_));
    BATON_ASSIGN_OR_RETURN(compiler_, GrammarCompiler::Create(*tokenizer));
  }
  return compiler_.get();
}

absl::Status AttachGrammar(GrammarConstraints* grammars, const v1::SamplingParams& params,
                           Sequence* sequence) {
  if (grammars != nullptr) return grammars->Attach(params, sequence);
  if (!params.has_grammar()) return absl::OkStatus();
  return absl::FailedPreconditionError("grammar: this node serves none");
}

absl::Status GrammarConstraints::Attach(const v1::SamplingParams& params, Sequence* sequence) {
  if (!params.has_grammar()) return absl::OkStatus();
  BATON_ASSIGN_OR_RETURN(const GrammarKind kind, GrammarKindFromProto(params.grammar().kind()));
  BATON_ASSIGN_OR_RETURN(GrammarCompiler* const compiler, Compiler());
  BATON_ASSIGN_OR_RETURN(std::unique_ptr<GrammarMatcher> matcher,
                         compiler->Compile(kind, params.grammar().source()));
  const absl::Span<const int32_t> output =
      absl::MakeConstSpan(sequence->tokens)
          .subspan(sequence->prompt_tokens - sequence->first_index);
  BATON_RETURN_IF_ERROR(matcher->Consume(output));
  sequence->constraint_tokens = sequence->output_tokens();
  sequence->constraint = std::make_unique<GrammarConstraint>(std::move(matcher));
  return absl::OkStatus();
}

}  // namespace baton::engine
