#include "device/host_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace baton::device {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

TEST(AllocateHost, GivesZeroedAlignedMemoryOfAnySize) {
  for (const size_t bytes : {size_t{1}, size_t{64}, size_t{4095}, size_t{4097}, kHugePage - 1}) {
    auto buffer = AllocateHost(bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u) << bytes;
    auto* begin = static_cast<uint8_t*>(buffer->data());
    EXPECT_TRUE(std::all_of(begin, begin + bytes, [](uint8_t b) { return b == 0; })) << bytes;
    std::fill(begin, begin + bytes, 0xff);  // writable to the last byte
  }
}

TEST(AllocateHost, AlignsLargePiecesToHugePages) {
  for (const size_t bytes : {kHugePage, kHugePage + 1, 3 * kHugePage - 5}) {
    auto buffer = AllocateHost(bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % kHugePage, 0u) << bytes;
    auto* begin = static_cast<uint8_t*>(buffer->data());
    EXPECT_EQ(begin[0], 0);
    EXPECT_EQ(begin[bytes - 1], 0);
    begin[0] = begin[bytes - 1] = 1;
  }
}

TEST(AllocateHost, MemoryThatWasGivenBackComesBackZeroed) {
  for (int i = 0; i < 20; ++i) {
    auto buffer = AllocateHost(kHugePage);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    auto* begin = static_cast<uint8_t*>(buffer->data());
    ASSERT_EQ(begin[12345], 0);
    begin[12345] = 1;
  }
}

TEST(AllocateHost, SaysWhatWasWantedWhenThereIsNoSuchMemory) {
  for (const size_t bytes : {size_t{1} << 62, SIZE_MAX, SIZE_MAX - kHugePage}) {
    const auto buffer = AllocateHost(bytes);
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(buffer.status().message()),
                testing::HasSubstr(std::to_string(bytes) + " bytes"));
  }
}

TEST(AllocateHost, NothingIsAnEmptyBuffer) {
  const auto buffer = AllocateHost(0);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->data(), nullptr);
  EXPECT_EQ(buffer->bytes(), 0u);
}

TEST(HostArenaTest, PiecesLieSideBySideInHugePagesAndAreZeroed) {
  HostArena arena;
  std::vector<Buffer> pieces;
  for (const size_t bytes : {size_t{100}, size_t{4096}, size_t{1}, kHugePage, size_t{640}}) {
    auto piece = arena.Allocate(bytes);
    ASSERT_TRUE(piece.ok()) << piece.status();
    EXPECT_EQ(piece->bytes(), bytes);
    auto* begin = static_cast<uint8_t*>(piece->data());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(begin) % 64, 0u);
    EXPECT_TRUE(std::all_of(begin, begin + bytes, [](uint8_t b) { return b == 0; }));
    std::fill(begin, begin + bytes, 0xff);  // must not reach into the next piece
    if (pieces.empty()) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(begin) % kHugePage, 0u);
    } else {
      const auto* end = static_cast<uint8_t*>(pieces.back().data()) + pieces.back().bytes();
      EXPECT_GE(begin, end);
      EXPECT_LE(begin - end, 128) << "a gap that reading ahead would have to jump";
    }
    pieces.push_back(*std::move(piece));
  }
}

TEST(HostArenaTest, APieceOfAnySizeFitsAndOutlivesTheArena) {
  std::vector<Buffer> pieces;
  {
    HostArena arena;
    // The third does not fit behind the others, the last is larger than any slab.
    for (const size_t bytes : {15 * kHugePage, 15 * kHugePage, 15 * kHugePage, 70 * kHugePage}) {
      auto piece = arena.Allocate(bytes);
      ASSERT_TRUE(piece.ok()) << piece.status();
      pieces.push_back(*std::move(piece));
    }
  }
  for (Buffer& piece : pieces) {
    auto* begin = static_cast<uint8_t*>(piece.data());
    EXPECT_EQ(begin[0] + begin[piece.bytes() - 1], 0);
    begin[0] = begin[piece.bytes() - 1] = 1;
  }
}

TEST(HostArenaTest, SaysWhatWasWantedWhenThereIsNoSuchMemory) {
  HostArena arena;
  EXPECT_EQ(arena.Allocate(size_t{1} << 62).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(arena.Allocate(64).ok());
  EXPECT_EQ(arena.Allocate(0)->data(), nullptr);
}

// Counts how often its memory was given back.
Buffer Counted(std::vector<char>& memory, int& releases) {
  return Buffer(memory.data(), memory.size(), [&releases](void*, size_t) { ++releases; });
}

TEST(BufferTest, IsReleasedExactlyOnceHoweverItMoves) {
  std::vector<char> a(8), b(16);
  int a_releases = 0, b_releases = 0;
  {
    Buffer first = Counted(a, a_releases);
    Buffer second = std::move(first);
    EXPECT_EQ(second.data(), a.data());
    EXPECT_EQ(first.data(), nullptr);
    EXPECT_EQ(first.bytes(), 0u);
    Buffer third = Counted(b, b_releases);
    third = std::move(second);  // gives b back
    EXPECT_EQ(b_releases, 1);
    EXPECT_EQ(a_releases, 0);
    Buffer& same = third;
    third = std::move(same);
    EXPECT_EQ(third.data(), a.data());
  }
  EXPECT_EQ(a_releases, 1);
  EXPECT_EQ(b_releases, 1);
}

}  // namespace
}  // namespace baton::device
