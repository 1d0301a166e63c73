// The xxh3-64 checksums of a frame: of its payload, of its manifest and of a commit
// (docs/kv_format.md).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "proto/kv_transfer.pb.h"

namespace baton::kvcache {

// Over the pieces as if they were one: where a payload is cut does not change the result.
uint64_t PayloadXxh3(absl::Span<const absl::Span<const uint8_t>> pieces);
// Over the serialised message without its own checksum field.
uint64_t ManifestXxh3(const v1::KvManifest& manifest);
uint64_t CommitXxh3(const v1::KvCommit& commit);

}  // namespace baton::kvcache
