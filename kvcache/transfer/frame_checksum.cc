#include "kvcache/transfer/frame_checksum.h"

#include <xxhash.h>

#include <memory>
#include <string>

#include "base/check.h"

namespace baton::kvcache {
namespace {

uint64_t Xxh3OfMessage(const google::protobuf::MessageLite& message) {
  const std::string bytes = message.SerializeAsString();
  return XXH3_64bits(bytes.data(), bytes.size());
}

struct StateDeleter {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

}  // namespace

uint64_t PayloadXxh3(absl::Span<const absl::Span<const uint8_t>> pieces) {
  if (pieces.size() == 1) return XXH3_64bits(pieces[0].data(), pieces[0].size());
  std::unique_ptr<XXH3_state_t, StateDeleter> state(XXH3_createState());
  BATON_CHECK(state != nullptr && XXH3_64bits_reset(state.get()) == XXH_OK, "out of memory");
  for (absl::Span<const uint8_t> piece : pieces) {
    if (!piece.empty()) XXH3_64bits_update(state.get(), piece.data(), piece.size());
  }
  return XXH3_64bits_digest(state.get());
}

uint64_t ManifestXxh3(const v1::KvManifest& manifest) {
  v1::KvManifest bare = manifest;
  bare.clear_manifest_xxh3();
  return Xxh3OfMessage(bare);
}

uint64_t CommitXxh3(const v1::KvCommit& commit) {
  v1::KvCommit bare = commit;
  bare.clear_commit_xxh3();
  return Xxh3OfMessage(bare);
}

}  // namespace baton::kvcache
