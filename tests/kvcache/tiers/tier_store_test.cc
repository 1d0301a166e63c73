#include "kvcache/tiers/tier_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/fakes/temp_folder.h"

namespace baton::kvcache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr int64_t kBytes = 1000;  // of a block
constexpr int64_t kFileBytes = kBytes + 48;

BlockKey Key(uint64_t i) { return {.hash = i, .check_low = i * 7, .check_high = i * 11}; }
std::vector<uint8_t> Block(uint64_t i) {
  return std::vector<uint8_t>(kBytes, static_cast<uint8_t>(i));
}
StoredBlock Stored(uint64_t i) {
  return {Key(i), std::make_shared<std::vector<uint8_t>>(Block(i))};
}

TEST(HostTier, TheLeastRecentlyUsedMakeRoom) {
  HostTier tier(3 * kBytes);
  for (uint64_t i = 1; i <= 3; ++i) EXPECT_THAT(tier.Put(Key(i), Block(i)), IsEmpty());
  tier.Refresh(Key(1));
  EXPECT_THAT(tier.Put(Key(2), Block(2)), IsEmpty());  // there already: used again
  const std::vector<StoredBlock> gone = tier.Put(Key(4), Block(4));
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].key, Key(3));
  EXPECT_EQ(*gone[0].bytes, Block(3));
  EXPECT_FALSE(tier.Contains(Key(3)));
  EXPECT_EQ(tier.stats().blocks, 3);
  EXPECT_EQ(tier.stats().bytes, 3 * kBytes);
  EXPECT_EQ(tier.stats().dropped, 1);
  EXPECT_EQ(*tier.Take(Key(1)), Block(1));
  EXPECT_EQ(tier.Take(Key(1)), nullptr);
  EXPECT_EQ(tier.stats().blocks, 2);
  EXPECT_THAT(tier.Put(Key(3), Block(3)), IsEmpty());  // in its room
}

TEST(HostTier, EqualHashesOfDifferentTokensAreToldApart) {
  HostTier tier(3 * kBytes);
  tier.Put(Key(1), Block(1));
  BlockKey other = Key(1);
  other.check_low ^= 1;
  EXPECT_FALSE(tier.Contains(other));
  EXPECT_EQ(tier.Take(other), nullptr);
  tier.Put(other, Block(9));
  EXPECT_EQ(*tier.Take(Key(1)), Block(1));
}

class DiskTierTest : public testing::Test {
 protected:
  std::unique_ptr<DiskTier> Open(int64_t blocks, const std::string& layout = "f16") const {
    return DiskTier::Open(folder_.path() + "/a", layout, blocks * kFileBytes).value();
  }
  std::vector<std::string> Files(const std::string& layout = "f16") const {
    std::vector<std::string> files;
    for (const auto& file : std::filesystem::directory_iterator(folder_.path() + "/a/" + layout)) {
      files.push_back(file.path().string());
    }
    return files;
  }
  bool Holds(DiskTier& tier, uint64_t i) const {
    std::vector<uint8_t> out(kBytes);
    bool gone = false;
    return tier.Get(Key(i), absl::MakeSpan(out), &gone) && out == Block(i);
  }
  fakes::TempFolder folder_;
};

TEST_F(DiskTierTest, SurvivesARestart) {
  {
    const auto tier = Open(10);
    for (uint64_t i = 1; i <= 4; ++i) EXPECT_THAT(tier->Put(Stored(i)), IsEmpty());
  }
  const auto tier = Open(10);
  EXPECT_EQ(tier->stats().blocks, 4);
  EXPECT_EQ(tier->stats().bytes, 4 * kFileBytes);
  EXPECT_THAT(tier->Hashes(), UnorderedElementsAre(1, 2, 3, 4));
  for (uint64_t i = 1; i <= 4; ++i) EXPECT_TRUE(Holds(*tier, i));
  EXPECT_FALSE(Holds(*tier, 5));
}

TEST_F(DiskTierTest, KeepsToItsLimitNowAndAtARestart) {
  {
    const auto tier = Open(3);
    for (uint64_t i = 1; i <= 3; ++i) tier->Put(Stored(i));
    EXPECT_TRUE(Holds(*tier, 1));
    EXPECT_THAT(tier->Put(Stored(4)), ElementsAre(2));
    EXPECT_FALSE(Holds(*tier, 2));
    EXPECT_EQ(Files().size(), 3u);
  }
  {
    const auto tier = Open(1);
    EXPECT_EQ(tier->stats().blocks, 1);
    EXPECT_EQ(Files().size(), 1u);
    EXPECT_TRUE(Holds(*tier, 4));  // the one that was used last
  }
  EXPECT_THAT(Open(0)->Put(Stored(7)), ElementsAre(7));  // no room for a single one
}

TEST_F(DiskTierTest, WhatWasUsedLastOutlivesARestart) {
  {
    const auto tier = Open(3);
    for (uint64_t i = 1; i <= 3; ++i) tier->Put(Stored(i));
    EXPECT_TRUE(Holds(*tier, 1));
  }
  const auto tier = Open(1);
  EXPECT_TRUE(Holds(*tier, 1));
}

// After a change of the model or of the blocks' size the old blocks are of no use, but take room.
TEST_F(DiskTierTest, BlocksOfAnotherLayoutAreNeverReadAndMakeRoomFirst) {
  for (uint64_t i = 1; i <= 3; ++i) Open(4, "old")->Put(Stored(i));
  const auto tier = Open(4, "new");
  EXPECT_EQ(tier->stats().blocks, 0);
  EXPECT_EQ(tier->stats().bytes, 3 * kFileBytes);
  EXPECT_FALSE(Holds(*tier, 1));
  for (uint64_t i = 1; i <= 3; ++i) EXPECT_THAT(tier->Put(Stored(i)), IsEmpty());
  EXPECT_EQ(Files("old").size(), 1u);
  EXPECT_EQ(Files("new").size(), 3u);
  EXPECT_EQ(tier->stats().bytes, 4 * kFileBytes);
  EXPECT_TRUE(Holds(*tier, 1));
}

TEST_F(DiskTierTest, OneProcessAFolder) {
  const auto tier = Open(4);
  const auto second = DiskTier::Open(folder_.path() + "/a", "f16", 1000);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr(folder_.path() + "/a"));
}

TEST_F(DiskTierTest, DamagedEntriesAreDroppedAndCounted) {
  enum Damage { kByte, kShort, kLong, kEmpty, kHeader };
  for (const Damage damage : {kByte, kShort, kLong, kEmpty, kHeader}) {
    const auto tier = Open(4);
    tier->Put(Stored(1));
    ASSERT_EQ(Files().size(), 1u);
    const std::string file = Files()[0];
    if (damage == kShort) std::filesystem::resize_file(file, kFileBytes - 1);
    if (damage == kEmpty) std::filesystem::resize_file(file, 0);
    if (damage == kByte || damage == kHeader) {
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekp(damage == kByte ? 500 : 20);
      stream.put('\x55');
    }
    std::vector<uint8_t> out(damage == kLong ? kBytes - 1 : kBytes);
    bool gone = false;
    EXPECT_FALSE(tier->Get(Key(1), absl::MakeSpan(out), &gone)) << damage;
    EXPECT_TRUE(gone);
    EXPECT_EQ(tier->stats().corrupt, 1);
    EXPECT_EQ(tier->stats().blocks, 0);
    EXPECT_THAT(Files(), IsEmpty());
  }
}

TEST_F(DiskTierTest, AFileThatVanishedIsNotThereButNotDamaged) {
  const auto tier = Open(4);
  tier->Put(Stored(1));
  std::filesystem::remove(Files()[0]);
  EXPECT_FALSE(Holds(*tier, 1));
  EXPECT_EQ(tier->stats().corrupt, 0);
  EXPECT_EQ(tier->stats().blocks, 0);
}

TEST_F(DiskTierTest, HalfWrittenFilesGoAndForeignOnesStay) {
  (void)Open(4);
  std::ofstream(folder_.path() +
                "/a/f16/0000000000000001-0000000000000007-000000000000000b.kv.part");
  std::ofstream(folder_.path() + "/a/f16/notes.txt");
  const auto tier = Open(4);
  EXPECT_EQ(tier->stats().blocks, 0);
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(DiskTierTest, AFolderThatCannotBeMadeIsNamed) {
  folder_.Write("file", "");
  const auto tier = DiskTier::Open(folder_.path() + "/file/below", "f16", 1000);
  EXPECT_EQ(tier.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(tier.status().message()), testing::HasSubstr("/file/below"));
}

TEST(TierStore, WhatHostMemoryHasNoRoomForGoesToDiskAndComesBack) {
  const fakes::TempFolder folder;
  const TierStore::Options options{.host_bytes = 2 * kBytes,
                                   .disk_folder = folder.path(),
                                   .disk_layout = "f16",
                                   .disk_bytes = 100 * kFileBytes};
  {
    const auto store = TierStore::Create(options, SystemClock::Get()).value();
    for (uint64_t i = 1; i <= 6; ++i) {
      store->Put(Key(i), Block(i));
      EXPECT_TRUE(store->Contains(Key(i)));
    }
    for (uint64_t i = 1; i <= 6; ++i) {  // also those that still wait to be written
      EXPECT_EQ(*store->Take(Key(i), kBytes), Block(i));
    }
    EXPECT_EQ(store->host()->stats().hits, 2);
    EXPECT_EQ(store->disk()->stats().hits, 4);
    EXPECT_EQ(store->host()->stats().blocks, 0);  // moved out; those on disk stay there
    for (uint64_t i = 5; i <= 6; ++i) store->Put(Key(i), Block(i));
    store->Close();
    store->PutOnDisk(Key(7), Block(7));
  }
  const auto store = TierStore::Create(options, SystemClock::Get()).value();
  EXPECT_THAT(store->Hashes(), UnorderedElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(*store->Take(Key(3), kBytes), Block(3));
  EXPECT_EQ(store->disk()->stats().hits, 1);
  EXPECT_GT(store->disk()->stats().hit_seconds, 0);
}

TEST(TierStore, TellsWhatIsInNoTierAnyMore) {
  const fakes::TempFolder folder;
  std::set<uint64_t> dropped;
  const auto store = TierStore::Create({.host_bytes = 2 * kBytes,
                                        .disk_folder = folder.path(),
                                        .disk_layout = "f16",
                                        .disk_bytes = 2 * kFileBytes},
                                       SystemClock::Get())
                         .value();
  Mutex mutex;
  store->set_on_dropped([&](const std::vector<uint64_t>& hashes) {
    MutexLock lock(mutex);
    dropped.insert(hashes.begin(), hashes.end());
  });
  for (uint64_t i = 1; i <= 8; ++i) store->Put(Key(i), Block(i));
  const auto count = [&] {
    MutexLock lock(mutex);
    return dropped.size();
  };
  for (int i = 0; i < 1000 && count() < 4; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  MutexLock lock(mutex);
  EXPECT_THAT(dropped, ElementsAre(1, 2, 3, 4));
}

TEST(TierStore, WithoutADiskHostMemoryIsTheEnd) {
  const auto store = TierStore::Create({.host_bytes = 2 * kBytes}, SystemClock::Get()).value();
  std::set<uint64_t> dropped;
  store->set_on_dropped(
      [&](const std::vector<uint64_t>& hashes) { dropped.insert(hashes.begin(), hashes.end()); });
  for (uint64_t i = 1; i <= 3; ++i) store->Put(Key(i), Block(i));
  EXPECT_THAT(dropped, ElementsAre(1));
  EXPECT_FALSE(store->Contains(Key(1)));
  EXPECT_EQ(store->disk(), nullptr);
}

}  // namespace
}  // namespace baton::kvcache
