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

// Another function than the hash's, so that the two do not collide together.
constexpr uint64_t kCheckSeed = 0x9e3779b97f4a7c15;

// Leaves what it hashed in `bytes`.
uint64_t ChainedHash(uint64_t previous, absl::Span<const int32_t> tokens, std::string& bytes) {
  bytes.clear();
  AppendLittleEndian(bytes, previous, 8);
  for (int32_t token : tokens) AppendLittleEndian(bytes, static_cast<uint32_t>(token), 4);
  return XXH3_64bits(bytes.data(), bytes.size());
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
  uint64_t previous = seed;
  for (size_t block = 0; block < hashes.size(); ++block) {
    previous = ChainedHash(previous, tokens.subspan(block * block_tokens, block_tokens), bytes);
    hashes[block] = previous;
  }
  return hashes;
}

BlockKey BlockKeySeed(uint64_t model_fingerprint, absl::string_view salt) {
  std::string bytes;
  AppendLittleEndian(bytes, model_fingerprint, 8);
  bytes.append(salt.data(), salt.size());
  const XXH128_hash_t check = XXH3_128bits_withSeed(bytes.data(), bytes.size(), kCheckSeed);
  return {BlockHashSeed(model_fingerprint, salt), check.low64, check.high64};
}

void ExtendBlockKeys(absl::Span<const int32_t> tokens, int32_t block_tokens, const BlockKey& seed,
                     std::vector<BlockKey>* keys) {
  BATON_CHECK(block_tokens > 0, "a block holds at least one token");
  std::string bytes;
  BlockKey key = keys->empty() ? seed : keys->back();
  for (size_t block = keys->size(); block < tokens.size() / block_tokens; ++block) {
    const auto piece = tokens.subspan(block * block_tokens, block_tokens);
    key.hash = ChainedHash(key.hash, piece, bytes);
    AppendLittleEndian(bytes, key.check_low, 8);
    AppendLittleEndian(bytes, key.check_high, 8);
    const XXH128_hash_t check = XXH3_128bits_withSeed(bytes.data(), bytes.size(), kCheckSeed);
    key.check_low = check.low64;
    key.check_high = check.high64;
    keys->push_back(key);
  }
}

}  // namespace baton::kvcache
