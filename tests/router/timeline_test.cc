#include "router/timeline.h"

#include <gtest/gtest.h>

#include "router/json_text.h"
#include "router/request_log.h"

namespace baton::router {
namespace {

absl::Time At(int ms) { return absl::UnixEpoch() + absl::Milliseconds(ms); }

absl::Duration Sum(const Timeline& timeline) {
  absl::Duration sum;
  for (size_t i = 0; i < kPhases; ++i) sum += timeline.spent(static_cast<Phase>(i));
  return sum;
}

TEST(Timeline, ThePhasesAddUpWhateverIsAddedInWhateverOrder) {
  Timeline timeline(At(100));
  timeline.Add(Phase::kAdmit, At(103));
  timeline.AddEndingWith(Phase::kQueuePrefill, Phase::kPrefill, absl::Milliseconds(40), At(150));
  EXPECT_EQ(timeline.spent(Phase::kQueuePrefill), absl::Milliseconds(7));
  EXPECT_EQ(timeline.spent(Phase::kPrefill), absl::Milliseconds(40));
  timeline.Add(Phase::kDecode, At(120));  // behind the cursor
  EXPECT_EQ(timeline.spent(Phase::kDecode), absl::ZeroDuration());
  // A node that measured more than there was gets what there was.
  timeline.AddEndingWith(Phase::kTransferExposed, Phase::kDecode, absl::Milliseconds(90), At(160));
  EXPECT_EQ(timeline.spent(Phase::kTransferExposed), absl::ZeroDuration());
  EXPECT_EQ(timeline.spent(Phase::kDecode), absl::Milliseconds(10));
  timeline.AddEndingWith(Phase::kQueuePrefill, Phase::kPrefill, absl::Milliseconds(-5), At(170));
  EXPECT_EQ(Sum(timeline), absl::Milliseconds(70));
  EXPECT_EQ(timeline.total(), absl::Milliseconds(70));
}

TEST(RequestLog, RunningAndEndedRequestsAreToldWithoutTheirText) {
  ManualClock clock;
  RequestLog log(clock);
  const auto first = log.Start("req-a", {}, clock.Now());
  const auto second = log.Start("req-b", {}, clock.Now());
  clock.Advance(absl::Milliseconds(20));
  SequenceRecord sequence;
  sequence.state = "running";
  sequence.decode_node = "d7";
  sequence.timeline = Timeline(first->arrived());
  sequence.timeline.Add(Phase::kPrefill, clock.Now());
  first->Update(sequence);
  sequence.output_tokens = 3;
  first->Update(sequence);
  log.Finish(second, "cancelled");
  const Json json = Json::parse(log.Json());
  ASSERT_EQ(json["running"].size(), 1u);
  EXPECT_EQ(json["running"][0]["request_id"], "req-a");
  EXPECT_EQ(json["running"][0]["sequences"].size(), 1u);
  EXPECT_EQ(json["running"][0]["sequences"][0]["output_tokens"], 3);
  EXPECT_EQ(json["running"][0]["sequences"][0]["decode_node"], "d7");
  EXPECT_EQ(json["ended"][0]["state"], "cancelled");
  EXPECT_EQ(json["ended"][0]["took_ms"], 20.0);
  log.Finish(first, "ok");
  const Json trace = Json::parse(log.TraceJson());
  ASSERT_EQ(trace["traceEvents"].size(), 2u);
  EXPECT_EQ(trace["traceEvents"][1]["name"], "prefill");
  EXPECT_EQ(trace["traceEvents"][1]["dur"], 20000.0);
}

TEST(RequestLog, ItsLengthIsBounded) {
  ManualClock clock;
  RequestLog log(clock);
  for (size_t i = 0; i < RequestLog::kEnded + 10; ++i) {
    log.Finish(log.Start(std::to_string(i), {}, clock.Now()), "ok");
  }
  const Json json = Json::parse(log.Json());
  EXPECT_EQ(json["ended"].size(), RequestLog::kEnded);
  EXPECT_EQ(json["ended"][0]["request_id"], "10");
  EXPECT_TRUE(json["running"].empty());
}

}  // namespace
}  // namespace baton::router
