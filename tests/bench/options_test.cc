#include <cmath>

#include "bench/load/http_target.h"
#include "bench/load/request_body.h"
#include "bench/load/serve_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace baton::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(BaseUrl, HostsPortsAndPaths) {
  EXPECT_EQ(ParseBaseUrl("http://localhost:8000")->Authority(), "localhost:8000");
  EXPECT_EQ(ParseBaseUrl("http://example.org")->port, "80");
  EXPECT_EQ(ParseBaseUrl("http://[::1]:81/a/b/")->host, "::1");
  EXPECT_EQ(ParseBaseUrl("http://[::1]:81/a/b/")->path_prefix, "/a/b");
  EXPECT_EQ(ParseBaseUrl("http://[::1]:81")->Authority(), "[::1]:81");
}

TEST(BaseUrl, WhatCannotBeUsedIsSaid) {
  EXPECT_THAT(std::string(ParseBaseUrl("https://x").status().message()),
              HasSubstr("https is not supported"));
  for (const char* url : {"localhost:8000", "http://", "http://:80", "http://x:0", "http://x:99999",
                          "http://x:a", "http://[::1", "http://[::1]8"}) {
    EXPECT_EQ(ParseBaseUrl(url).status().code(), absl::StatusCode::kInvalidArgument) << url;
  }
}

TEST(ServeOptions, TextualFlagsAreParsed) {
  ServeOptions options;
  options.request_rate = "2.5";
  options.percentile_metrics = "itl, ttft";
  options.metric_percentiles = "50,99.9";
  options.goodput = {"ttft:200", "tpot:50.5"};
  options.header = {"X-A=b=c"};
  const auto parsed = ParseOptions(options);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->requests_per_s, 2.5);
  EXPECT_THAT(parsed->latency_names, ElementsAre("ttft", "itl"));
  EXPECT_THAT(parsed->percents, ElementsAre(50, 99.9));
  EXPECT_THAT(parsed->goodput, ElementsAre(Pair("tpot", 50.5), Pair("ttft", 200)));
  EXPECT_THAT(parsed->headers, ElementsAre(Pair("X-A", "b=c")));
  EXPECT_TRUE(std::isinf(ParseOptions({})->requests_per_s));
}

TEST(ServeOptions, BadFlagsAreNamed) {
  const auto message = [](auto change) {
    ServeOptions options;
    change(options);
    return std::string(ParseOptions(options).status().message());
  };
  EXPECT_THAT(message([](auto& o) { o.request_rate = "0"; }), HasSubstr("--request-rate is '0'"));
  EXPECT_THAT(message([](auto& o) { o.request_rate = "nan"; }), HasSubstr("--request-rate"));
  EXPECT_THAT(message([](auto& o) { o.percentile_metrics = "ttft,x"; }),
              HasSubstr("--percentile-metrics is 'x'"));
  EXPECT_THAT(message([](auto& o) { o.metric_percentiles = "101"; }),
              HasSubstr("--metric-percentiles"));
  EXPECT_THAT(message([](auto& o) { o.goodput = {"itl:3"}; }), HasSubstr("--goodput is 'itl:3'"));
  EXPECT_THAT(message([](auto& o) { o.goodput = {"ttft"}; }), HasSubstr("--goodput"));
  EXPECT_THAT(message([](auto& o) { o.header = {"nothing"}; }), HasSubstr("--header"));
  EXPECT_THAT(message([](auto& o) { o.dataset_name = "trace"; }), HasSubstr("--dataset-path"));
}

TEST(RequestBody, HasTheFieldsOfItsApi) {
  ServeOptions options;
  const Prompt prompt{.text = "say \"hi\"", .input_tokens = 3, .output_tokens = 7};
  const auto extra = ParseExtraBody(R"({"top_k": 5, "temperature": 1})");
  ASSERT_TRUE(extra.ok());
  EXPECT_EQ(RequestBody(options, *extra, "m", prompt),
            R"({"model":"m","prompt":"say \"hi\"","max_tokens":7,"temperature":1,"stream":true,)"
            R"("stream_options":{"include_usage":true},"top_k":5})");
  options.backend = "openai-chat";
  options.ignore_eos = true;
  EXPECT_EQ(RequestBody(options, {}, "m", prompt),
            R"({"model":"m","messages":[{"role":"user","content":"say \"hi\""}],)"
            R"("max_completion_tokens":7,)"
            R"("temperature":0.0,"stream":true,"stream_options":{"include_usage":true},)"
            R"("ignore_eos":true})");
  EXPECT_FALSE(ParseExtraBody("[1]").ok());
}

}  // namespace
}  // namespace baton::bench
