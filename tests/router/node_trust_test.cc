#include "router/node_trust.h"

#include <gtest/gtest.h>

namespace baton::router {
namespace {

TEST(NodeTrust, PausesGrowWithEachFailureAfterThree) {
  NodeTrust trust;
  absl::Time now = absl::UnixEpoch();
  trust.Failed(now);
  trust.Failed(now);
  EXPECT_FALSE(trust.Paused(now));
  trust.Failed(now);
  for (const int pause : {1, 2, 4, 8, 8}) {
    EXPECT_TRUE(trust.Paused(now + absl::Seconds(pause) - absl::Milliseconds(1)));
    trust.Failed(now);  // late words of calls that had begun before
    now += absl::Seconds(pause);
    EXPECT_FALSE(trust.Paused(now));
    trust.Failed(now);
  }
}

}  // namespace
}  // namespace baton::router
