#include "router/cache_index.h"

#include <gtest/gtest.h>

#include <numeric>

namespace baton::router {
namespace {

using Hashes = std::vector<uint64_t>;

// (node, blocks) pairs as a plain list.
std::vector<std::pair<uint64_t, int32_t>> Find(const CacheIndex& index, const Hashes& hashes) {
  std::vector<std::pair<uint64_t, int32_t>> found;
  for (const PrefixMatch& match : index.Find(hashes)) found.emplace_back(match.node, match.blocks);
  return found;
}

bool Store(CacheIndex& index, uint64_t node, uint64_t sequence, const Hashes& stored,
           const Hashes& removed = {}) {
  return index.Apply(node, {.sequence = sequence, .stored = stored, .removed = removed});
}

using Found = std::vector<std::pair<uint64_t, int32_t>>;

TEST(CacheIndexTest, EachNodeIsFoundWithTheLengthOfThePrefixThatItHolds) {
  CacheIndex index(1000);
  ASSERT_TRUE(Store(index, 7, 1, {10, 11, 12}));
  ASSERT_TRUE(Store(index, 3, 1, {10}));
  ASSERT_TRUE(Store(index, 5, 1, {10, 11, 99}));
  ASSERT_TRUE(Store(index, 6, 1, {11, 12}));  // without the beginning it is no prefix
  EXPECT_EQ(Find(index, {10, 11, 12, 13}), (Found{{3, 1}, {5, 2}, {7, 3}}));
  EXPECT_EQ(Find(index, {10}), (Found{{3, 1}, {5, 1}, {7, 1}}));
  EXPECT_EQ(Find(index, {13}), Found());
  EXPECT_EQ(Find(index, {}), Found());
}

TEST(CacheIndexTest, WhatANodeGaveUpIsNotFoundAnyMore) {
  CacheIndex index(1000);
  ASSERT_TRUE(Store(index, 1, 1, {10, 11, 12}));
  ASSERT_TRUE(Store(index, 1, 2, {13}, {11, 13}));  // `removed` comes after `stored`
  EXPECT_EQ(Find(index, {10, 11, 12, 13}), (Found{{1, 1}}));
  EXPECT_EQ(index.stats().entries, 2u);
  ASSERT_TRUE(Store(index, 1, 3, {}, {77}));  // never known
  EXPECT_EQ(index.stats().entries, 2u);
}

TEST(CacheIndexTest, AfterAGapNothingIsBelievedUntilAReset) {
  CacheIndex index(1000);
  ASSERT_TRUE(Store(index, 1, 1, {10}));
  ASSERT_TRUE(Store(index, 2, 1, {10}));
  EXPECT_FALSE(Store(index, 1, 3, {11}));
  EXPECT_FALSE(Store(index, 1, 4, {12}));  // in order again, but on what?
  EXPECT_EQ(Find(index, {10}), (Found{{2, 1}}));
  EXPECT_EQ(index.stats().gaps, 1u);
  const Hashes all = {10, 11};
  EXPECT_TRUE(index.Apply(1, {.sequence = 5, .reset = true, .stored = all}));
  EXPECT_EQ(Find(index, {10, 11}), (Found{{1, 2}, {2, 1}}));
  EXPECT_TRUE(Store(index, 1, 6, {12}));
}

TEST(CacheIndexTest, AResetForgetsWhatWasThere) {
  CacheIndex index(1000);
  ASSERT_TRUE(Store(index, 1, 1, {10, 11}));
  const Hashes all = {20};
  ASSERT_TRUE(index.Apply(1, {.sequence = 2, .reset = true, .stored = all}));
  EXPECT_EQ(Find(index, {10}), Found());
  EXPECT_EQ(Find(index, {20}), (Found{{1, 1}}));
  EXPECT_EQ(index.stats().entries, 1u);
}

TEST(CacheIndexTest, AForgottenNodeLeavesNothingBehind) {
  CacheIndex index(1000);
  ASSERT_TRUE(Store(index, 1, 1, {10, 11}));
  ASSERT_TRUE(Store(index, 2, 1, {10}));
  index.Forget(1);
  index.Forget(9);
  EXPECT_EQ(Find(index, {10, 11}), (Found{{2, 1}}));
  EXPECT_EQ(index.stats().entries, 1u);
}

TEST(CacheIndexTest, MemoryIsBounded) {
  CacheIndex index(3);
  ASSERT_TRUE(Store(index, 1, 1, {10, 11, 12, 13, 14}));
  EXPECT_EQ(index.stats().entries, 3u);
  EXPECT_EQ(index.stats().ignored, 2u);
  EXPECT_EQ(Find(index, {10, 11, 12, 13}), (Found{{1, 3}}));
  // What a node gives up makes room.
  ASSERT_TRUE(Store(index, 1, 2, {}, {12}));
  ASSERT_TRUE(Store(index, 2, 1, {10}));
  EXPECT_EQ(Find(index, {10}), (Found{{1, 1}, {2, 1}}));
}

TEST(CacheIndexTest, ManyNodesWithOneBeginningAreAllFound) {
  CacheIndex index(1 << 20);
  Hashes system(32);
  std::iota(system.begin(), system.end(), 100);
  for (uint64_t node = 1; node <= 300; ++node) {
    Hashes mine = system;
    mine.push_back(1000 + node);
    ASSERT_TRUE(Store(index, node, 1, mine));
  }
  Hashes prompt = system;
  prompt.push_back(1000 + 42);
  const auto found = Find(index, prompt);
  ASSERT_EQ(found.size(), 300u);
  for (const auto& [node, blocks] : found) EXPECT_EQ(blocks, node == 42 ? 33 : 32) << node;
}

}  // namespace
}  // namespace baton::router
