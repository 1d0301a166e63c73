// What the output of a sequence must follow, one token at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace baton::engine {

// Belongs to one sequence. Its state follows from the output tokens alone: a sequence that goes on
// elsewhere gets a new one, which is told them again. Called on the engine's thread once the
// sequence is submitted.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // The output goes on by `ids`. InvalidArgument when they are against the constraint.
  virtual absl::Status Accept(absl::Span<const int32_t> ids) = 0;
  // Which tokens may come next: bit id % 32 of (*mask)[id / 32], at least `vocab_size` bits.
  // InvalidArgument when finding out would take longer than a step may.
  virtual absl::Status Allowed(int32_t vocab_size, std::vector<uint32_t>* mask) = 0;
  // Nothing but an end token can follow.
  virtual bool IsComplete() const = 0;
};

}  // namespace baton::engine
