// A KV layout as nodes compare it at pairing.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "device/paged_kv.h"

namespace baton::kvcache {

// Version of docs/kv_format.md.
inline constexpr uint32_t kKvLayoutVersion = 1;

struct KvLayout {
  uint32_t version = kKvLayoutVersion;
  device::KvGeometry geometry;
  uint64_t model_fingerprint = 0;
};

// OK when blocks of `theirs` can be copied byte for byte into blocks of `ours`; otherwise
// FailedPrecondition naming the first differing field with both values ("kv layout differs in
// block_tokens: ours 32, theirs 64").
absl::Status CheckSameLayout(const KvLayout& ours, const KvLayout& theirs);

// As above, but blocks of another size are fine too: the receiver converts them (block_bytes.h of
// transfer/).
absl::Status CheckConvertible(const KvLayout& ours, const KvLayout& theirs);

}  // namespace baton::kvcache
