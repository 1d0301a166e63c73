#include "kvcache/block_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::kvcache {
namespace {

TEST(BlockTable, ListsIdsInOrderOfAppendingAndGivesBlocksBack) {
  BlockPool pool(6);
  {
    BlockTable table;
    std::vector<int32_t> expected;
    for (int32_t count : {2, 0, 3}) {
      auto blocks = pool.Allocate(count, BlockPool::Use::kUsed);
      ASSERT_TRUE(blocks.ok());
      for (const BlockRef& block : *blocks) expected.push_back(block.id());
      table.Append(*std::move(blocks));
    }
    EXPECT_EQ(table.size(), 5);
    EXPECT_THAT(table.ids(), testing::ElementsAreArray(expected));
    EXPECT_EQ(pool.stats().used, 5);
    table.Clear();
    EXPECT_EQ(table.size(), 0);
    EXPECT_EQ(pool.stats().free, 6);
  }
  EXPECT_EQ(pool.stats().free, 6);
}

TEST(BlockTable, AtLeastOneTokenOfAPromptIsNotReused) {
  EXPECT_EQ(ReusableBlocks(0, 32), 0);
  EXPECT_EQ(ReusableBlocks(32, 32), 0);
  EXPECT_EQ(ReusableBlocks(33, 32), 1);
  EXPECT_EQ(ReusableBlocks(64, 32), 1);
  EXPECT_EQ(ReusableBlocks(65, 32), 2);
}

TEST(BlockTable, BlocksForRoundsUp) {
  EXPECT_EQ(BlocksFor(0, 32), 0);
  EXPECT_EQ(BlocksFor(1, 32), 1);
  EXPECT_EQ(BlocksFor(32, 32), 1);
  EXPECT_EQ(BlocksFor(33, 32), 2);
  EXPECT_EQ(BlocksFor(int64_t{1} << 20, 16), 1 << 16);
}

}  // namespace
}  // namespace baton::kvcache
