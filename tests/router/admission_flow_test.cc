// The line of requests, over HTTP: who waits begins when another ends, who would be late is told
// so.
#include "absl/strings/str_cat.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

class AdmissionFlowTest : public RouterFixture {
 protected:
  // A cluster for one request at a time, whose prefill takes `first_token_ms`.
  void StartNarrow(int first_token_ms) {
    config.set_max_running(1);
    StartCluster();
    fakes::NodeScript script;
    script.token = fakes::Says("Hello");
    script.first_token_ms = first_token_ms;
    prefill->SetScript(script);
  }
  bool Waiting(int requests) {
    return Eventually([&] { return Metric("baton_admission_waiting") == requests; });
  }
};

TEST_F(AdmissionFlowTest, ARequestThatWaitsInLineBeginsWhenAnotherEnds) {
  StartNarrow(300);
  RawClient first(router->http_address()), second(router->http_address());
  first.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  ASSERT_TRUE(Eventually([&] { return prefill->calls() == 1; }));
  second.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  ASSERT_TRUE(Waiting(1));
  EXPECT_EQ(prefill->calls(), 1);
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(second.Read().status, 200);
  EXPECT_EQ(Metric("baton_admission_total{result=\"admitted\"}"), 2);
  EXPECT_EQ(Metric("baton_admission_wait_seconds_count"), 1);
  EXPECT_TRUE(Waiting(0));
}

TEST_F(AdmissionFlowTest, AClientThatLeavesTheLineIsForgotten) {
  StartNarrow(5000);
  RawClient first(router->http_address());
  first.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  ASSERT_TRUE(Eventually([&] { return prefill->calls() == 1; }));
  {
    RawClient second(router->http_address());
    second.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
    ASSERT_TRUE(Waiting(1));
    second.Close();
    EXPECT_TRUE(Waiting(0));
  }
  first.Close();
  EXPECT_TRUE(Eventually([&] { return router->idle(); }));
  EXPECT_EQ(prefill->calls(), 1);
}

TEST_F(AdmissionFlowTest, WhoCannotBeInTimeIsAnsweredBeforeAnyNodeHears) {
  StartNarrow(0);
  // The node reports 1000 tokens/s: 200 tokens take longer than 100 ms.
  std::string prompt = "5";
  for (int i = 1; i < 200; ++i) absl::StrAppend(&prompt, ",", 5 + i % 100);
  const RawReply reply =
      Ask("/v1/completions", absl::StrCat("{\"prompt\":[", prompt, "],\"ttft_slo_ms\":100}"));
  EXPECT_EQ(reply.status, 429) << reply.body;
  EXPECT_GE(std::atoi(reply.headers.at("retry-after-ms").c_str()), 100);
  EXPECT_EQ(prefill->calls() + decode->calls(), 0);
  EXPECT_EQ(Metric("baton_admission_total{result=\"would_miss_slo\"}"), 1);
  EXPECT_EQ(
      Ask("/v1/completions", absl::StrCat("{\"prompt\":[", prompt, "],\"ttft_slo_ms\":60000}"))
          .status,
      200);
  EXPECT_EQ(Metric("baton_objectives_total{objective=\"ttft\",met=\"true\"}"), 1);
}

TEST_F(AdmissionFlowTest, AnObjectiveThatPassesInLineIsAnswered429) {
  StartNarrow(2000);
  RawClient first(router->http_address());
  first.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  ASSERT_TRUE(Eventually([&] { return prefill->calls() == 1; }));
  const RawReply reply = Ask("/v1/completions", "{\"prompt\":\"x\",\"ttft_slo_ms\":200}");
  EXPECT_EQ(reply.status, 429) << reply.body;
  EXPECT_EQ(prefill->calls(), 1);
}

TEST_F(AdmissionFlowTest, WrongAsksAreNamed) {
  StartCluster();
  for (const char* field : {"\"ttft_slo_ms\":-1", "\"tpot_slo_ms\":\"fast\"", "\"priority\":1.5",
                            "\"priority\":1001"}) {
    const RawReply reply = Ask("/v1/completions", absl::StrCat("{\"prompt\":\"x\",", field, "}"));
    EXPECT_EQ(reply.status, 400) << field;
  }
  EXPECT_EQ(Ask("/v1/completions",
                "{\"prompt\":\"x\",\"priority\":-5,\"user\":\"u\",\"tpot_slo_ms\":1000}")
                .status,
            200);
}

}  // namespace
}  // namespace baton::router
