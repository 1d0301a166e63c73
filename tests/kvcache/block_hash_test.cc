#include "kvcache/block_hash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"

namespace baton::kvcache {
namespace {

std::vector<int32_t> RandomTokens(uint64_t seed, size_t count) {
  SeededRng rng(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Next() % 50000);
  return tokens;
}

TEST(BlockHash, OnlyFullBlocksHaveAHash) {
  const std::vector<int32_t> tokens = RandomTokens(1, 100);
  EXPECT_EQ(BlockHashes({}, 16, 7).size(), 0u);
  EXPECT_EQ(BlockHashes(absl::MakeSpan(tokens).subspan(0, 15), 16, 7).size(), 0u);
  EXPECT_EQ(BlockHashes(absl::MakeSpan(tokens).subspan(0, 16), 16, 7).size(), 1u);
  EXPECT_EQ(BlockHashes(tokens, 16, 7).size(), 6u);
}

TEST(BlockHash, AnEqualPrefixHasEqualHashesHoweverLongTheRest) {
  const std::vector<int32_t> tokens = RandomTokens(2, 320);
  const std::vector<uint64_t> all = BlockHashes(tokens, 32, 7);
  for (size_t length = 0; length <= tokens.size(); length += 13) {
    const std::vector<uint64_t> some =
        BlockHashes(absl::MakeSpan(tokens).subspan(0, length), 32, 7);
    ASSERT_LE(some.size(), all.size());
    for (size_t i = 0; i < some.size(); ++i) EXPECT_EQ(some[i], all[i]);
  }
}

TEST(BlockHash, AChangedTokenChangesItsBlockAndAllLaterOnesOnly) {
  const std::vector<int32_t> tokens = RandomTokens(3, 160);
  const std::vector<uint64_t> before = BlockHashes(tokens, 16, 7);
  for (size_t changed = 0; changed < tokens.size(); changed += 7) {
    std::vector<int32_t> other = tokens;
    other[changed] ^= 1;
    const std::vector<uint64_t> after = BlockHashes(other, 16, 7);
    for (size_t block = 0; block < before.size(); ++block) {
      EXPECT_EQ(before[block] == after[block], block < changed / 16);
    }
  }
}

TEST(BlockHash, EqualBlocksAtDifferentPlacesDiffer) {
  const std::vector<int32_t> tokens(16 * 8, 5);
  const std::vector<uint64_t> hashes = BlockHashes(tokens, 16, 7);
  EXPECT_EQ(std::set<uint64_t>(hashes.begin(), hashes.end()).size(), hashes.size());
}

TEST(BlockHash, SeedsSeparateModelsAndTenants) {
  const uint64_t seed = BlockHashSeed(1, "");
  EXPECT_EQ(BlockHashSeed(1, ""), seed);
  EXPECT_NE(BlockHashSeed(2, ""), seed);
  EXPECT_NE(BlockHashSeed(1, "tenant"), seed);
  const std::vector<int32_t> tokens = RandomTokens(4, 32);
  EXPECT_NE(BlockHashes(tokens, 16, seed), BlockHashes(tokens, 16, BlockHashSeed(2, "")));
}

TEST(BlockKey, ItsHashIsTheChainedHashHoweverItIsExtended) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 75; ++i) tokens.push_back(i * i);
  const BlockKey seed = BlockKeySeed(17, "salt");
  EXPECT_EQ(seed.hash, BlockHashSeed(17, "salt"));
  std::vector<BlockKey> keys, pieces;
  ExtendBlockKeys(tokens, 16, seed, &keys);
  for (const size_t length : {10, 16, 40, 75}) {
    ExtendBlockKeys(absl::MakeConstSpan(tokens).first(length), 16, seed, &pieces);
  }
  EXPECT_EQ(keys, pieces);
  const std::vector<uint64_t> hashes = BlockHashes(tokens, 16, seed.hash);
  ASSERT_EQ(keys.size(), hashes.size());
  for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(keys[i].hash, hashes[i]);
}

TEST(BlockKey, ChecksDependOnEveryEarlierTokenAndOnTheSeed) {
  std::vector<int32_t> tokens(64, 5);
  std::vector<BlockKey> keys, others, salted;
  ExtendBlockKeys(tokens, 16, BlockKeySeed(1, ""), &keys);
  ExtendBlockKeys(tokens, 16, BlockKeySeed(1, "x"), &salted);
  tokens[3] = 6;
  ExtendBlockKeys(tokens, 16, BlockKeySeed(1, ""), &others);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_NE(keys[i].check_low, others[i].check_low);
    EXPECT_NE(keys[i].check_high, others[i].check_high);
    EXPECT_NE(keys[i].check_low, salted[i].check_low);
    if (i > 0) {
      EXPECT_NE(keys[i].check_low, keys[i - 1].check_low);
    }
  }
}

}  // namespace
}  // namespace baton::kvcache
