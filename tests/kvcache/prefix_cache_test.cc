#include "kvcache/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "base/rng.h"

namespace baton::kvcache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using testing::UnorderedElementsAreArray;
using Tokens = std::vector<int32_t>;

constexpr int32_t kBlockTokens = 16;
constexpr uint64_t kModel = 0x5eed;

// `blocks` blocks of tokens of the family `family`, which agree in all tokens before block `fork`
// with those of family 0.
Tokens TokensOf(int32_t blocks, int32_t family = 0, int32_t fork = 0) {
  Tokens tokens;
  for (int32_t i = 0; i < blocks * kBlockTokens; ++i) {
    tokens.push_back(i < fork * kBlockTokens ? i : 1000 * family + i);
  }
  return tokens;
}

class PrefixCacheTest : public testing::Test {
 protected:
  std::vector<BlockKey> Keys(const Tokens& tokens, const char* salt = "") const {
    std::vector<BlockKey> keys;
    cache_.ExtendKeys(tokens, salt, &keys);
    return keys;
  }
  // Does as a sequence does: takes what is cached, computes the rest, files it and ends. Returns
  // how many blocks were cached.
  size_t Compute(const Tokens& tokens, const char* salt = "") {
    const std::vector<BlockKey> keys = Keys(tokens, salt);
    BlockTable table;
    table.Append(cache_.Lookup(keys));
    const int32_t cached = table.size();
    table.Append(
        pool_.Allocate(static_cast<int32_t>(keys.size()) - cached, BlockPool::Use::kUsed).value());
    for (size_t i = cached; i < keys.size(); ++i) cache_.Insert(keys[i], table.refs()[i]);
    return static_cast<size_t>(cached);
  }
  std::vector<int32_t> IdsOf(const Tokens& tokens) {
    std::vector<int32_t> ids;
    std::vector<BlockRef> blocks = cache_.Lookup(Keys(tokens));
    for (const BlockRef& block : blocks) ids.push_back(block.id());
    GiveBack(std::move(blocks));
    return ids;
  }

  BlockPool pool_{8};
  PrefixCache cache_{pool_, kBlockTokens, kModel};
};

TEST_F(PrefixCacheTest, FindsTheLongestPrefixAndNothingElse) {
  EXPECT_EQ(Compute(TokensOf(3)), 0u);
  EXPECT_EQ(pool_.stats().cached, 3);
  EXPECT_EQ(pool_.stats().free, 5);
  EXPECT_EQ(IdsOf(TokensOf(3)).size(), 3u);
  EXPECT_EQ(IdsOf(TokensOf(2)).size(), 2u);
  EXPECT_EQ(IdsOf(TokensOf(5)).size(), 3u);
  EXPECT_EQ(IdsOf(TokensOf(3, 7, 2)).size(), 2u);
  EXPECT_THAT(IdsOf(TokensOf(3, 7)), IsEmpty());
  EXPECT_THAT(IdsOf(Tokens(kBlockTokens - 1, 0)), IsEmpty());
}

TEST_F(PrefixCacheTest, ABlockMidwayIsNoPrefix) {
  const std::vector<BlockKey> keys = Keys(TokensOf(3));
  {
    const auto block = pool_.Allocate(1, BlockPool::Use::kUsed).value();
    EXPECT_TRUE(cache_.Insert(keys[1], block[0]));
  }
  EXPECT_THAT(cache_.Lookup(keys), IsEmpty());
  EXPECT_EQ(cache_.Peek(keys, 0), 0);
}

TEST_F(PrefixCacheTest, SaltsAndModelsNeverShare) {
  EXPECT_EQ(Compute(TokensOf(2), "alice"), 0u);
  EXPECT_EQ(Compute(TokensOf(2), "bob"), 0u);
  EXPECT_EQ(Compute(TokensOf(2)), 0u);
  EXPECT_EQ(Compute(TokensOf(2), "alice"), 2u);
  BlockPool pool(2);
  const PrefixCache other(pool, kBlockTokens, kModel + 1);
  std::vector<BlockKey> keys;
  other.ExtendKeys(TokensOf(2), "", &keys);
  EXPECT_THAT(cache_.Lookup(keys), IsEmpty());
}

TEST_F(PrefixCacheTest, EqualHashesOfDifferentTokensAreToldApart) {
  Compute(TokensOf(2));
  std::vector<BlockKey> keys = Keys(TokensOf(2));
  keys[1].check_high ^= 1;  // what a collision of the hash would look like
  EXPECT_EQ(cache_.Lookup(keys).size(), 1u);
  EXPECT_EQ(cache_.Peek(keys, 0), 1);
  const auto block = pool_.Allocate(1, BlockPool::Use::kUsed).value();
  EXPECT_FALSE(cache_.Insert(keys[1], block[0]));
  EXPECT_EQ(cache_.stats().collisions, 2);
  EXPECT_EQ(IdsOf(TokensOf(2)).size(), 2u);
}

TEST_F(PrefixCacheTest, TheLeastRecentlyUsedGoesFirstAndEndsBeforeBeginnings) {
  const auto cached = [this](const Tokens& tokens) { return cache_.Peek(Keys(tokens), 0); };
  Compute(TokensOf(3));
  Compute(TokensOf(3, 1));
  EXPECT_EQ(Compute(TokensOf(3)), 3u);                                 // used again
  const auto four = pool_.Allocate(4, BlockPool::Use::kUsed).value();  // two were free
  EXPECT_EQ(cached(TokensOf(3)), 3);
  EXPECT_EQ(cached(TokensOf(3, 1)), 1);
  const auto two = pool_.Allocate(2, BlockPool::Use::kLeased).value();
  EXPECT_EQ(cached(TokensOf(3, 1)), 0);
  EXPECT_EQ(cached(TokensOf(3)), 2);
  EXPECT_EQ(cache_.stats().blocks, 2);
}

TEST_F(PrefixCacheTest, WhatIsUsedIsNotTaken) {
  Compute(TokensOf(4));
  const std::vector<BlockRef> held = cache_.Lookup(Keys(TokensOf(3)));
  EXPECT_EQ(pool_.stats().used, 3);
  EXPECT_EQ(pool_.stats().available(), 5);
  EXPECT_FALSE(pool_.Allocate(6, BlockPool::Use::kUsed).ok());
  const auto rest = pool_.Allocate(5, BlockPool::Use::kUsed).value();
  std::vector<int32_t> ids;
  for (const BlockRef& block : held) ids.push_back(block.id());
  EXPECT_EQ(IdsOf(TokensOf(4)), ids);
}

TEST_F(PrefixCacheTest, PeekFollowsTheCacheFromAnyGuess) {
  Compute(TokensOf(5));
  for (int32_t guess = 0; guess < 9; ++guess) {
    EXPECT_EQ(cache_.Peek(Keys(TokensOf(7)), guess), 5);
    EXPECT_EQ(cache_.Peek(Keys(TokensOf(2)), guess), 2);
  }
}

TEST_F(PrefixCacheTest, TheFeedTellsWhatCameAndWentAndBeginsWithAllThatIsThere) {
  Compute(TokensOf(2));
  PrefixCache::Changes changes;
  EXPECT_FALSE(cache_.TakeChanges(100, &changes));
  cache_.RestartFeed();
  const std::vector<BlockKey> keys = Keys(TokensOf(8, 1));
  ASSERT_TRUE(cache_.TakeChanges(100, &changes));
  EXPECT_TRUE(changes.reset);
  const std::vector<BlockKey> old = Keys(TokensOf(2));
  EXPECT_THAT(changes.stored, UnorderedElementsAre(old[0].hash, old[1].hash));
  Compute(TokensOf(8, 1));
  std::vector<uint64_t> stored, removed;
  while (cache_.TakeChanges(3, &changes)) {
    EXPECT_FALSE(changes.reset);
    EXPECT_LE(changes.stored.size() + changes.removed.size(), 3u);
    stored.insert(stored.end(), changes.stored.begin(), changes.stored.end());
    removed.insert(removed.end(), changes.removed.begin(), changes.removed.end());
  }
  std::vector<uint64_t> expected;
  for (const BlockKey& key : keys) expected.push_back(key.hash);
  EXPECT_THAT(stored, UnorderedElementsAreArray(expected));
  EXPECT_THAT(removed, UnorderedElementsAre(old[0].hash, old[1].hash));
}

// A router that applies the changes knows exactly what is there, whatever happens, and a block is
// found exactly when a simple model of the cache has it.
TEST(PrefixCacheProperty, AgreesWithASimpleModel) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    BlockPool pool(24);
    PrefixCache cache(pool, kBlockTokens, kModel);
    cache.RestartFeed();
    SeededRng rng(seed);
    std::map<uint64_t, int32_t> filed;  // hash -> block
    std::set<uint64_t> router;
    std::vector<std::pair<BlockTable, int32_t>> running;
    for (int step = 0; step < 300; ++step) {
      const int32_t blocks = 1 + static_cast<int32_t>(rng.Next() % 8);
      const int32_t family = static_cast<int32_t>(rng.Next() % 4);
      const Tokens tokens =
          TokensOf(blocks, family, static_cast<int32_t>(rng.Next() % (blocks + 1)));
      std::vector<BlockKey> keys;
      cache.ExtendKeys(tokens, "", &keys);
      BlockTable table;
      table.Append(cache.Lookup(keys));
      size_t expected = 0;
      while (expected < keys.size() && filed.count(keys[expected].hash) > 0) ++expected;
      ASSERT_EQ(static_cast<size_t>(table.size()), expected) << "seed " << seed;
      for (size_t i = 0; i < expected; ++i) {
        ASSERT_EQ(table.ids()[i], filed[keys[i].hash]);
      }
      auto fresh = pool.Allocate(blocks - table.size(), BlockPool::Use::kUsed);
      if (fresh.ok()) {
        for (const BlockRef& block : *fresh) {  // what was filed there is gone
          for (auto it = filed.begin(); it != filed.end();) {
            it = it->second == block.id() ? filed.erase(it) : std::next(it);
          }
        }
        table.Append(*std::move(fresh));
        for (size_t i = expected; i < keys.size(); ++i) {
          if (cache.Insert(keys[i], table.refs()[i])) filed[keys[i].hash] = table.ids()[i];
        }
        running.emplace_back(std::move(table), 0);
      }
      if (running.size() > rng.Next() % 4) {
        std::swap(running[rng.Next() % running.size()].first, running.back().first);
        running.pop_back();
      }
      const BlockPool::Stats stats = pool.stats();
      ASSERT_EQ(stats.free + stats.leased + stats.used + stats.cached, stats.total);
      ASSERT_EQ(cache.stats().blocks, static_cast<int64_t>(filed.size()));
      PrefixCache::Changes changes;
      while (rng.Next() % 2 == 0 && cache.TakeChanges(4, &changes)) {
        for (const uint64_t hash : changes.stored) router.insert(hash);
        for (const uint64_t hash : changes.removed) router.erase(hash);
      }
    }
    PrefixCache::Changes changes;
    while (cache.TakeChanges(4, &changes)) {
      for (const uint64_t hash : changes.stored) router.insert(hash);
      for (const uint64_t hash : changes.removed) router.erase(hash);
    }
    std::set<uint64_t> there;
    for (const auto& [hash, block] : filed) there.insert(hash);
    EXPECT_EQ(router, there) << "seed " << seed;
    running.clear();
    EXPECT_EQ(pool.stats().available(), pool.stats().total);
  }
}

// Each block holds the hash that it is filed under; nobody ever sees another one in a block that it
// holds.
TEST(PrefixCacheThreads, NobodySeesABlockChangeThatItHolds) {
  BlockPool pool(32);
  PrefixCache cache(pool, kBlockTokens, kModel);
  cache.RestartFeed();
  std::vector<std::atomic<uint64_t>> contents(32);
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      SeededRng rng(seed);
      PrefixCache::Changes changes;
      for (int i = 0; i < 600; ++i) {
        const int32_t blocks = 1 + static_cast<int32_t>(rng.Next() % 6);
        const Tokens tokens = TokensOf(blocks, static_cast<int32_t>(rng.Next() % 5));
        std::vector<BlockKey> keys;
        cache.ExtendKeys(tokens, "", &keys);
        BlockTable table;
        table.Append(cache.Lookup(keys));
        const int32_t hit = table.size();
        auto fresh = pool.Allocate(blocks - hit, BlockPool::Use::kUsed);
        if (!fresh.ok()) continue;
        table.Append(*std::move(fresh));
        for (int32_t b = hit; b < blocks; ++b) {
          contents[table.ids()[b]] = keys[b].hash;
          cache.Insert(keys[b], table.refs()[b]);
        }
        for (int32_t b = 0; b < blocks; ++b) EXPECT_EQ(contents[table.ids()[b]], keys[b].hash);
        cache.TakeChanges(10, &changes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.stats().available(), 32);
}

}  // namespace
}  // namespace baton::kvcache
