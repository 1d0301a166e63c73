#include "router/stop_scanner.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace baton::router {
namespace {

TEST(StopScannerTest, WithoutStopsEverythingPassesAtOnce) {
  StopScanner scanner({});
  EXPECT_EQ(scanner.Push("abc"), "abc");
  EXPECT_EQ(scanner.Finish(), "");
}

TEST(StopScannerTest, AStopThatSpansPiecesIsNeverShownInPart) {
  StopScanner scanner({"END"});
  EXPECT_EQ(scanner.Push("say E"), "say ");
  EXPECT_EQ(scanner.Push("N"), "");
  EXPECT_EQ(scanner.Push("D and more"), "");
  EXPECT_TRUE(scanner.stopped());
  EXPECT_EQ(scanner.matched(), "END");
  EXPECT_EQ(scanner.Push("later"), "");
  EXPECT_EQ(scanner.Finish(), "");
}

TEST(StopScannerTest, WhatTurnsOutNotToBeAStopIsShownAfterAll) {
  StopScanner scanner({"END"});
  EXPECT_EQ(scanner.Push("EN"), "");
  EXPECT_EQ(scanner.Push("ENx"), "ENENx");
  EXPECT_EQ(scanner.Push("E"), "");
  EXPECT_EQ(scanner.Finish(), "E");
}

TEST(StopScannerTest, TheFirstMatchWinsAndAmongThoseTheLongest) {
  StopScanner scanner({"b", "abc", "ab"});
  EXPECT_EQ(scanner.Push("xabcd"), "x");
  EXPECT_EQ(scanner.matched(), "abc");
}

TEST(StopScannerTest, OverlappingBeginningsAreKept) {
  StopScanner scanner({"aab"});
  EXPECT_EQ(scanner.Push("aa"), "");
  EXPECT_EQ(scanner.Push("a"), "a");
  EXPECT_EQ(scanner.Push("b"), "");
  EXPECT_TRUE(scanner.stopped());
}

// However a text is cut into pieces, what is shown is what stands before the first match in the
// whole.
TEST(StopScannerTest, TheMatchIsShownWhereThatIsWanted) {
  StopScanner scanner({"END"}, /*show_match=*/true);
  EXPECT_EQ(scanner.Push("aEN"), "a");
  EXPECT_EQ(scanner.Push("Db"), "END");
  EXPECT_EQ(scanner.Finish(), "");
}

TEST(StopScannerTest, TheCutsDoNotMatter) {
  SeededRng rng(5);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) text.push_back(static_cast<char>('a' + rng.Next() % 3));
    const std::string stop = text.substr(20 + rng.Next() % 10, 1 + rng.Next() % 5);
    StopScanner scanner({stop});
    std::string shown;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + rng.Next() % 4;
      shown += scanner.Push(text.substr(at, length));
      at += length;
    }
    shown += scanner.Finish();
    EXPECT_EQ(shown, text.substr(0, text.find(stop)));
    EXPECT_TRUE(scanner.stopped());
    EXPECT_EQ(scanner.shown_bytes(), static_cast<int64_t>(shown.size()));
  }
}

}  // namespace
}  // namespace baton::router
