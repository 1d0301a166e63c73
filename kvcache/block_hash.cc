#include "kvcache/block_hash.h"

#include <xxhash.h>

#include <string>

#include "base/check.h"

namespace baton::kvcache {
namespace {

// The bytes of the format are little-endian whatever the host is.
void AppendLittleEndian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

uint64_t BlockHashSeed(uint64_t model_fingerprint, absl::string_view salt) {
  std::string bytes;
  AppendLittleEndian(bytes, model_fingerprint, 8);
  bytes.append(salt.data(), salt.size());
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::vector<uint64_t> BlockHashes(absl::Span<const int32_t> tokens, int32_t block_tokens,
                                  uint64_t seed) {
  BATON_CHECK(block_tokens > 0, "a block holds at least one token");
  std::vector<uint64_t> hashes(tokens.size() / block_tokens);
  std::string bytes;
  bytes.reserve(8 + 4 * static_cast<size_t>(block_tokens));
  uint64_t previous = seed;
  for (size_t block = 0; block < hashes.size(); ++block) {
    bytes.clear();
    AppendLittleEndian(bytes, previous, 8);
    for (int32_t token : tokens.subspan(block * block_tokens, block_tokens)) {
      AppendLittleEndian(bytes, static_cast<uint32_t>(token), 4);
    }
    previous = XXH3_64bits(bytes.data(), bytes.size());
    hashes[block] = previous;
  }
  return hashes;
}

}  // namespace baton::kvcache
