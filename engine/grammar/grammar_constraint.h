// Grammars of requests as constraints of sequences.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "engine/sequence.h"
#include "models/text/grammar.h"
#include "proto/types.pb.h"

namespace baton::engine {

// Gives sequences the constraint that their request asks for. Reads the vocabulary of the model
// when the first request with a grammar comes. Thread-safe.
class GrammarConstraints {
 public:
  // `model`: path of the GGUF file that the node serves.
  explicit GrammarConstraints(std::string model) : model_(std::move(model)) {}

  // Does nothing without a grammar. The output tokens that the prompt ends with are told to the
  // constraint. Compiles on the calling thread: never call it on an engine's. InvalidArgument: a
  // grammar that is wrong or too complex, or tokens against it. FailedPrecondition: the model has
  // no vocabulary that grammars need.
  absl::Status Attach(const v1::SamplingParams& params, Sequence* sequence);

 private:
  absl::StatusOr<models::text::GrammarCompiler*> Compiler();

  const std::string model_;
  Mutex mutex_;
  std::unique_ptr<models::text::GrammarCompiler> compiler_ ABSL_GUARDED_BY(mutex_);
};

// As Attach; FailedPrecondition for a grammar where `grammars` is null.
absl::Status AttachGrammar(GrammarConstraints* grammars, const v1::SamplingParams& params,
                           Sequence* sequence);

// InvalidArgument for a kind that this version does not know.
absl::StatusOr<models::text::GrammarKind> GrammarKindFromProto(v1::Grammar::Kind kind);

}  // namespace baton::engine
