// The work of one step: which tokens of which sequences, and where their keys and values are.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "device/paged_kv.h"

namespace baton::models {

// Which rows of a sequence's new tokens are wanted: as logits, or as hidden states.
enum class LogitRows : uint8_t { kNone, kLast, kAll };

struct ForwardSequence {
  absl::Span<const int32_t> tokens;  // new tokens of this step, at least one
  int64_t position = 0;              // absolute position of tokens[0]
  absl::Span<const int32_t>
      block_table;  // physical blocks covering position + tokens.size() tokens
  LogitRows logits = LogitRows::kLast;
  // Not empty: the wanted rows are no logits, but the hidden states behind the last norm, which are
  // written here: [rows, hidden], of the host.
  absl::Span<float> hidden;
};

struct ForwardBatch {
  std::vector<ForwardSequence> sequences;
  absl::Span<const device::PagedKvView> kv;  // [layers]
  // Called on the calling thread after a layer's keys and values of the whole batch are in the
  // cache; must not block for long: the next layer waits. May be empty.
  std::function<void(int32_t layer)> on_layer_written;
};

}  // namespace baton::models
