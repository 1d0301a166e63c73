// Blocks that leave the pool and come back from the tiers below it.
#include "kvcache/tier_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/fakes/memory_device.h"
#include "tests/fakes/temp_folder.h"

namespace baton::kvcache {
namespace {

constexpr int32_t kBlocks = 16;
constexpr int32_t kTierBlockTokens = 16;
constexpr device::KvGeometry kGeometry{.layers = 3,
                                       .kv_heads = 2,
                                       .head_dim = 4,
                                       .block_tokens = kTierBlockTokens,
                                       .dtype = device::DType::kF16};

std::vector<int32_t> FamilyTokens(int32_t blocks, int32_t family) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < blocks * kTierBlockTokens; ++i) tokens.push_back(1000 * family + i);
  return tokens;
}

class TierReaderTest : public testing::Test {
 protected:
  // A pool with tiers below it, as after a start.
  struct Node {
    Node(int64_t host_blocks, const std::string& folder)
        : store(KvStore::Create(device, kGeometry, kBlocks).value()) {
      cache.SetTiers(TierStore::Create({.host_bytes = host_blocks * kGeometry.BlockBytesTotal(),
                                        .disk_folder = folder,
                                        .disk_layout = "f16",
                                        .disk_bytes = 1 << 24},
                                       SystemClock::Get())
                         .value(),
                     *store);
    }
    std::vector<BlockKey> Keys(int32_t blocks, int32_t family) const {
      std::vector<BlockKey> keys;
      cache.ExtendKeys(FamilyTokens(blocks, family), "", &keys);
      return keys;
    }
    // Computes what is not there, as a sequence does; the bytes of a block follow from its hash.
    int32_t Compute(int32_t blocks, int32_t family) {
      const std::vector<BlockKey> keys = Keys(blocks, family);
      BlockTable table;
      table.Append(cache.Lookup(keys));
      const int32_t cached = table.size();
      table.Append(pool.Allocate(blocks - cached, BlockPool::Use::kUsed).value());
      for (int32_t i = 0; i < blocks; ++i) {
        const absl::Span<uint8_t> bytes = store->Block(table.ids()[i]);
        const uint8_t fill = static_cast<uint8_t>(keys[i].hash);
        if (i >= cached) {
          std::memset(bytes.data(), fill, bytes.size());
          cache.Insert(keys[i], table.refs()[i]);
        }
        for (const uint8_t byte : bytes) {
          if (byte != fill) ADD_FAILURE() << "block " << i << " of family " << family;
          if (byte != fill) break;
        }
      }
      return cached;
    }
    fakes::MemoryDevice device;
    std::unique_ptr<KvStore> store;
    BlockPool pool{kBlocks};
    PrefixCache cache{pool, kTierBlockTokens, 1};
  };
  fakes::TempFolder folder_;
};

TEST_F(TierReaderTest, EvictedBlocksComeBackFromHostMemory) {
  Node node(100, "");
  TierReader reader(&node.cache);
  EXPECT_EQ(node.Compute(10, 1), 0);
  EXPECT_EQ(node.Compute(12, 2), 0);  // takes the room of six
  EXPECT_EQ(node.cache.Peek(node.Keys(10, 1), 0), 4);
  EXPECT_TRUE(node.cache.CanBringBack(node.Keys(10, 1)));
  std::atomic<bool> done{false};
  reader.BringBack(node.Keys(10, 1), [&done] { done = true; });
  while (!done) std::this_thread::yield();
  EXPECT_EQ(node.Compute(10, 1), 10);
  EXPECT_EQ(node.cache.tiers()->host()->stats().hits, 6);
  EXPECT_EQ(node.pool.stats().available(), kBlocks);
}

// What makes room in the pool goes to the tier that is being read.
TEST_F(TierReaderTest, BlocksThatComeBackAreNotPushedOutByThoseThatGo) {
  Node node(10, "");
  node.Compute(8, 1);
  node.Compute(16, 2);
  node.cache.BringBack(node.Keys(8, 1));
  EXPECT_EQ(node.Compute(8, 1), 8);
}

TEST_F(TierReaderTest, WithNothingToBringBackTheCallerGoesOnAtOnce) {
  Node node(100, "");
  TierReader reader(&node.cache);
  bool done = false;
  reader.BringBack(node.Keys(3, 1), [&done] { done = true; });
  EXPECT_TRUE(done);
  done = false;
  TierReader none(nullptr);
  none.BringBack(node.Keys(3, 1), [&done] { done = true; });
  EXPECT_TRUE(done);
}

TEST_F(TierReaderTest, BlocksOnDiskSurviveARestartAndAreToldToTheRouter) {
  {
    Node node(0, folder_.path());
    node.Compute(10, 1);
    node.Compute(16, 2);
  }
  Node node(0, folder_.path());
  node.cache.RestartFeed();
  PrefixCache::Changes changes;
  ASSERT_TRUE(node.cache.TakeChanges(100, &changes));
  EXPECT_EQ(changes.stored.size(), 26u);  // also what was in the pool when the process ended
  node.cache.BringBack(node.Keys(10, 1));
  EXPECT_EQ(node.Compute(10, 1), 10);
  EXPECT_EQ(node.cache.tiers()->disk()->stats().hits, 10);
  node.cache.BringBack(node.Keys(16, 2));
  EXPECT_GE(node.Compute(16, 2), 14);  // an eighth of the pool is left
  while (node.cache.TakeChanges(100, &changes)) EXPECT_TRUE(changes.removed.empty());
}

TEST_F(TierReaderTest, TheRouterHearsWhenTheLastTierDropsABlock) {
  Node node(2, "");
  node.cache.RestartFeed();
  node.Compute(10, 1);
  PrefixCache::Changes changes;
  ASSERT_TRUE(node.cache.TakeChanges(100, &changes));
  EXPECT_EQ(changes.stored.size(), 10u);
  node.Compute(16, 2);  // ten leave the pool, two of them stay in memory
  ASSERT_TRUE(node.cache.TakeChanges(100, &changes));
  EXPECT_EQ(changes.stored.size(), 16u);
  EXPECT_EQ(changes.removed.size(), 8u);
}

TEST_F(TierReaderTest, WhatIsUsedKeepsItsRoom) {
  Node node(100, "");
  node.Compute(10, 1);
  node.Compute(16, 2);
  const auto used = node.pool.Allocate(12, BlockPool::Use::kUsed).value();
  node.cache.BringBack(node.Keys(10, 1));
  EXPECT_EQ(node.pool.stats().used, 12);
  EXPECT_EQ(node.Compute(2, 1), 2);  // two, and an eighth of the pool is left
  EXPECT_EQ(node.cache.Peek(node.Keys(10, 1), 0), 2);
}

}  // namespace
}  // namespace baton::kvcache
