// Grammars that an answer must follow: JSON schemas, regular expressions, Lark grammars.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "models/text/tokenizer.h"

struct BatonGrammarCompiler;
struct BatonMatcher;

namespace baton::models::text {

enum class GrammarKind : uint8_t {
  kJsonSchema,  // a JSON schema (Draft 2020-12); "true" is any JSON
  kRegex,       // a regular expression that the whole text matches
  kLark,        // a Lark grammar with the rule `start`
};

// A JSON schema as Lark grammars embed it behind %json. `lenient`: keywords that cannot be enforced
// are left out, instead of making the grammar wrong. InvalidArgument for what is no schema.
absl::StatusOr<std::string> EmbeddedSchema(absl::string_view schema, bool lenient);

// One text under a grammar. Its state depends on nothing but the grammar and the tokens so far, so
// that another process rebuilds it from these. Not thread-safe.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(BatonMatcher* matcher);  // takes it
  ~GrammarMatcher();
  GrammarMatcher(const GrammarMatcher&) = delete;
  GrammarMatcher& operator=(const GrammarMatcher&) = delete;

  // The text goes on by `ids`. InvalidArgument when they do not follow the grammar; after an error
  // the matcher is good for nothing.
  absl::Status Consume(absl::Span<const int32_t> ids);
  // Which tokens may come next: bit id % 32 of (*mask)[id / 32]. End tokens are among them only
  // where the text is complete. `mask` gets the size of the vocabulary. InvalidArgument when the
  // step would take too much work (some milliseconds).
  absl::Status Mask(std::vector<uint32_t>* mask, int32_t vocab_size);
  // Nothing but an end token can follow.
  bool IsComplete() const;

 private:
  BatonMatcher* const matcher_;
};

// Compiles grammars for one vocabulary and keeps the latest ones. Thread-safe.
class GrammarCompiler {
 public:
  // FailedPrecondition for a model without an end token. Takes some 100 ms for 50,000 tokens.
  static absl::StatusOr<std::unique_ptr<GrammarCompiler>> Create(const Tokenizer& tokenizer);
  ~GrammarCompiler();

  // A matcher at the beginning of a text. InvalidArgument says what is wrong with `source`, or that
  // it is larger or more complex than the limits, which hold the time below a second whatever the
  // source is.
  absl::StatusOr<std::unique_ptr<GrammarMatcher>> Compile(GrammarKind kind,
                                                          absl::string_view source);

 private:
  struct Compiled {
    GrammarKind kind;
    std::string source;
    std::shared_ptr<BatonMatcher> fresh;  // never changed, only copied
  };
  explicit GrammarCompiler(BatonGrammarCompiler* compiler);
  std::shared_ptr<BatonMatcher> Find(GrammarKind kind, absl::string_view source);

  BatonGrammarCompiler* const compiler_;
  Mutex mutex_;
  std::list<Compiled> latest_ ABSL_GUARDED_BY(mutex_);  // the most recently used first
};

}  // namespace baton::models::text
