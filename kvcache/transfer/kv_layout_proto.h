// A KV layout as it crosses the wire.
#pragma once

#include "absl/status/status.h"
#include "kvcache/kv_layout.h"
#include "proto/types.pb.h"

namespace baton::kvcache {

v1::KvLayout ToProto(const KvLayout& layout);

// As in kv_layout.h, for a layout that came from a peer.
absl::Status CheckSameLayout(const KvLayout& ours, const v1::KvLayout& theirs);
absl::Status CheckConvertible(const KvLayout& ours, const v1::KvLayout& theirs);

}  // namespace baton::kvcache
