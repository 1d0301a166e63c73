#include "kvcache/block_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <utility>

#include "base/rng.h"

namespace baton::kvcache {
namespace {

using Use = BlockPool::Use;

void ExpectSum(const BlockPool::Stats& stats) {
  EXPECT_GE(stats.free, 0);
  EXPECT_GE(stats.leased, 0);
  EXPECT_GE(stats.used, 0);
  EXPECT_GE(stats.cached, 0);
  EXPECT_EQ(stats.free + stats.leased + stats.used + stats.cached, stats.total);
}

struct Holding {
  std::vector<BlockRef> blocks;
  bool leased = false;
};

// One random step: allocate, promote or give back.
void RandomStep(BlockPool& pool, SeededRng& rng, std::vector<Holding>& holdings) {
  const uint64_t choice = rng.Next() % 4;
  if (choice < 2) {
    const bool leased = rng.Next() % 2 == 0;
    auto blocks =
        pool.Allocate(static_cast<int32_t>(rng.Next() % 9), leased ? Use::kLeased : Use::kUsed);
    if (blocks.ok()) holdings.push_back({*std::move(blocks), leased});
  } else if (!holdings.empty()) {
    const size_t index = rng.Next() % holdings.size();
    if (choice == 2 && holdings[index].leased) {
      pool.Promote(holdings[index].blocks);
      holdings[index].leased = false;
    } else {
      std::swap(holdings[index], holdings.back());
      holdings.pop_back();
    }
  }
}

TEST(BlockPool, RandomOperationsKeepEveryBlockInExactlyOneState) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    BlockPool pool(37);
    SeededRng rng(seed);
    std::vector<Holding> holdings;
    for (int step = 0; step < 500; ++step) {
      RandomStep(pool, rng, holdings);
      int32_t leased = 0, used = 0;
      std::set<int32_t> ids;
      for (const Holding& holding : holdings) {
        (holding.leased ? leased : used) += static_cast<int32_t>(holding.blocks.size());
        for (const BlockRef& block : holding.blocks) {
          EXPECT_TRUE(ids.insert(block.id()).second) << "block " << block.id() << " twice";
          EXPECT_TRUE(block.id() >= 0 && block.id() < 37);
        }
      }
      const BlockPool::Stats stats = pool.stats();
      ASSERT_EQ(stats.leased, leased) << "seed " << seed << " step " << step;
      ASSERT_EQ(stats.used, used) << "seed " << seed << " step " << step;
      ExpectSum(stats);
    }
    holdings.clear();
    EXPECT_EQ(pool.stats().free, 37);
  }
}

TEST(BlockPool, ThreadsNeverSeeABlockTwiceOrASumThatDiffers) {
  BlockPool pool(64);
  std::vector<std::atomic<int>> owners(64);
  std::atomic<bool> stop{false};
  std::thread observer([&] {
    while (!stop) ExpectSum(pool.stats());
  });
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&pool, &owners, seed] {
      SeededRng rng(seed);
      for (int i = 0; i < 3000; ++i) {
        auto blocks = pool.Allocate(static_cast<int32_t>(rng.Next() % 24), Use::kLeased);
        if (!blocks.ok()) continue;
        for (const BlockRef& block : *blocks) EXPECT_EQ(owners[block.id()].fetch_add(1), 0);
        if (rng.Next() % 2 == 0) pool.Promote(*blocks);
        for (const BlockRef& block : *blocks) owners[block.id()].fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  observer.join();
  EXPECT_EQ(pool.stats().free, 64);
}

TEST(BlockPool, ExhaustionSaysNeededFreeAndTotalAndTakesNothing) {
  BlockPool pool(5);
  auto held = pool.Allocate(2, Use::kUsed);
  ASSERT_TRUE(held.ok());
  auto refused = pool.Allocate(4, Use::kLeased);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(), "kvcache: need 4 blocks, 3 free of 5");
  EXPECT_EQ(pool.stats().free, 3);
  EXPECT_TRUE(pool.Allocate(3, Use::kLeased).ok());
}

TEST(BlockPool, RefusesANegativeCount) {
  BlockPool pool(5);
  EXPECT_EQ(pool.Allocate(-1, Use::kUsed).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BlockPool, PromoteTurnsLeasedBlocksIntoUsedOnesOnce) {
  BlockPool pool(8);
  auto leased = pool.Allocate(3, Use::kLeased);
  ASSERT_TRUE(leased.ok());
  EXPECT_EQ(pool.stats().leased, 3);
  pool.Promote(*leased);
  pool.Promote(*leased);
  EXPECT_EQ(pool.stats().leased, 0);
  EXPECT_EQ(pool.stats().used, 3);
}

TEST(BlockPool, MovingAReferenceMovesTheOwnership) {
  BlockPool pool(2);
  auto blocks = pool.Allocate(2, Use::kUsed);
  ASSERT_TRUE(blocks.ok());
  BlockRef first = std::move((*blocks)[0]);
  EXPECT_EQ((*blocks)[0].id(), -1);
  blocks->clear();
  EXPECT_EQ(pool.stats().used, 1);
  first = BlockRef();
  EXPECT_EQ(pool.stats().used, 0);
}

TEST(BlockPool, SharesCountOnceAndTheLastOneGivesTheBlockBack) {
  BlockPool pool(2);
  auto blocks = pool.Allocate(1, Use::kUsed).value();
  BlockRef second = blocks[0].Share();
  EXPECT_EQ(second.id(), blocks[0].id());
  EXPECT_EQ(pool.stats().used, 1);
  blocks.clear();
  EXPECT_EQ(pool.stats().used, 1);
  second = BlockRef();
  EXPECT_EQ(pool.stats().free, 2);
}

TEST(BlockPool, KeptContentsOutliveTheirUsersUntilRoomIsNeeded) {
  BlockPool pool(2);
  auto blocks = pool.Allocate(2, Use::kUsed).value();
  const int32_t id = blocks[0].id();
  const uint64_t contents = pool.Keep(blocks[0]);
  blocks.clear();
  EXPECT_EQ(pool.stats().cached, 1);
  EXPECT_EQ(pool.stats().free, 1);
  EXPECT_EQ(pool.stats().available(), 2);
  {
    const std::optional<BlockRef> again = pool.Acquire(id, contents);
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(pool.stats().used, 1);
    EXPECT_FALSE(pool.Allocate(2, Use::kUsed).ok());
  }
  EXPECT_EQ(pool.stats().cached, 1);
  blocks = pool.Allocate(2, Use::kUsed).value();
  EXPECT_FALSE(pool.Acquire(id, contents).has_value());
  blocks.clear();
  EXPECT_EQ(pool.stats().free, 2);
}

TEST(BlockPool, ForgottenContentsAreFree) {
  BlockPool pool(1);
  auto blocks = pool.Allocate(1, Use::kUsed).value();
  const int32_t id = blocks[0].id();
  const uint64_t contents = pool.Keep(blocks[0]);
  blocks.clear();
  pool.Forget(id, contents + 1);  // of an earlier owner
  EXPECT_EQ(pool.stats().cached, 1);
  pool.Forget(id, contents);
  EXPECT_EQ(pool.stats().free, 1);
}

TEST(BlockPoolDeathTest, AReferenceThatOutlivesThePoolIsCaught) {
  EXPECT_DEATH(
      {
        auto pool = std::make_unique<BlockPool>(1);
        auto blocks = pool->Allocate(1, Use::kUsed);
        pool.reset();
      },
      "outlives its pool");
}

}  // namespace
}  // namespace baton::kvcache
