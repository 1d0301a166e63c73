#include "server/shared_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace baton::server {
namespace {

// A cache that tells each change once, as kvcache/prefix_cache.h does.
struct FakeCache {
  CacheFeed Feed() {
    return {.restart =
                [this] {
                  reset = true;
                  changed = held;
                },
            .take =
                [this](v1::CacheEvents* events) {
                  if (changed.empty() && !reset) return false;
                  events->set_reset(reset);
                  for (const uint64_t hash : changed) events->add_stored(hash);
                  reset = false;
                  changed.clear();
                  return true;
                }};
  }
  void Store(uint64_t hash) {
    held.insert(hash);
    changed.insert(hash);
  }
  std::set<uint64_t> held, changed;
  bool reset = false;
};

// What a router would know.
struct Listener {
  void Listen(const CacheFeed& feed) {
    v1::CacheEvents events;
    while (feed.take(&events)) {
      if (events.reset()) known.clear();
      known.insert(events.stored().begin(), events.stored().end());
      events.Clear();
    }
  }
  std::set<uint64_t> known;
};

TEST(SharedFeed, EveryReaderHearsEveryChangeWheneverItJoined) {
  FakeCache cache;
  SharedFeed feed(cache.Feed(), 2);
  const CacheFeed a = feed.Reader(0), b = feed.Reader(1);
  Listener first, second;
  cache.Store(1);
  a.restart();
  first.Listen(a);
  EXPECT_EQ(first.known, cache.held);
  cache.Store(2);
  b.restart();
  second.Listen(b);
  first.Listen(a);
  EXPECT_EQ(first.known, cache.held);
  EXPECT_EQ(second.known, cache.held);
  cache.Store(3);
  first.Listen(a);
  second.Listen(b);
  EXPECT_EQ(first.known, cache.held);
  EXPECT_EQ(second.known, cache.held);
}

TEST(SharedFeed, AReaderThatIsFarBehindIsToldEverythingAnew) {
  FakeCache cache;
  SharedFeed feed(cache.Feed(), 2);
  const CacheFeed a = feed.Reader(0), b = feed.Reader(1);
  Listener first, second;
  b.restart();
  second.Listen(b);
  for (uint64_t i = 0; i < 2 * SharedFeed::kWaitingMax; ++i) {
    cache.Store(i);
    first.Listen(a);
  }
  EXPECT_EQ(first.known, cache.held);
  v1::CacheEvents events;
  ASSERT_TRUE(b.take(&events));
  EXPECT_TRUE(events.reset());
  EXPECT_EQ(static_cast<size_t>(events.stored_size()), cache.held.size());
}

TEST(SharedFeed, WithoutACacheNothingIsTold) {
  SharedFeed feed({}, 1);
  EXPECT_FALSE(feed.Reader(0).take);
}

}  // namespace
}  // namespace baton::server
