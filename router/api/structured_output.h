// What a request says about the form of its answer: response_format, guided_* and
// structured_outputs become one grammar.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "models/text/grammar.h"
#include "models/text/tokenizer.h"
#include "proto/types.pb.h"
#include "router/field_reader.h"

namespace baton::router {

// A grammar, and the field that it came from, for errors.
struct AnswerForm {
  v1::Grammar grammar;
  std::string field;
};

// Reads response_format (text, json_object, json_schema), guided_json, guided_regex, guided_choice,
// guided_grammar and structured_outputs. At most one of them may ask for something; nullopt: none
// does. Records an error that names the field.
std::optional<AnswerForm> ReadAnswerForm(FieldReader& fields);

// A regular expression that matches exactly `text`.
std::string RegexLiteral(absl::string_view text);

// Says before any node works whether a grammar can be compiled. Thread-safe; to be called on worker
// threads, because compiling takes milliseconds. Makes its tables at the first call.
class GrammarCheck {
 public:
  // `tokenizer` must outlive the check.
  explicit GrammarCheck(const models::text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  // 400 that names `field`, or 501 for a model that grammars cannot serve.
  std::optional<ApiError> Check(const v1::Grammar& grammar, absl::string_view field);

 private:
  absl::StatusOr<models::text::GrammarCompiler*> Compiler();

  const models::text::Tokenizer& tokenizer_;
  Mutex mutex_;
  std::unique_ptr<models::text::GrammarCompiler> compiler_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::router
