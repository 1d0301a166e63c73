#include "kvcache/transfer/cache_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace baton::kvcache {
namespace {

TEST(CacheEvents, ALargeCacheIsToldInSeveralMessagesOfWhichTheFirstResets) {
  constexpr int32_t kBlocks = static_cast<int32_t>(kCacheEventHashesMax) + 100;
  BlockPool pool(kBlocks);
  PrefixCache cache(pool, 16, 1);
  std::set<uint64_t> expected;
  {
    const std::vector<BlockRef> blocks = pool.Allocate(kBlocks, BlockPool::Use::kUsed).value();
    for (int32_t i = 0; i < kBlocks; ++i) {
      const BlockKey key{.hash = 0x1000u + i, .check_low = 0, .check_high = 0};
      expected.insert(key.hash);
      ASSERT_TRUE(cache.Insert(key, blocks[i]));
    }
  }
  cache.RestartFeed();
  v1::CacheEvents events;
  std::set<uint64_t> told;
  int messages = 0;
  while (TakeCacheEvents(cache, &events)) {
    EXPECT_EQ(events.reset(), messages == 0);
    EXPECT_LE(events.stored_size(), kCacheEventHashesMax);
    EXPECT_EQ(events.removed_size(), 0);
    told.insert(events.stored().begin(), events.stored().end());
    ++messages;
  }
  EXPECT_EQ(messages, 2);
  EXPECT_EQ(told, expected);
}

TEST(CacheEvents, AnEmptyCacheIsToldToo) {
  BlockPool pool(2);
  PrefixCache cache(pool, 16, 1);
  cache.RestartFeed();
  v1::CacheEvents events;
  ASSERT_TRUE(TakeCacheEvents(cache, &events));
  EXPECT_TRUE(events.reset());
  EXPECT_EQ(events.stored_size(), 0);
  EXPECT_FALSE(TakeCacheEvents(cache, &events));
}

}  // namespace
}  // namespace baton::kvcache
