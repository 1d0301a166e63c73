#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "router/json_text.h"
#include "router/retry_budget.h"
#include "router/span_exporter.h"
#include "router/trace_context.h"

namespace baton::router {
namespace {

constexpr char kParent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceContext, GoesOnWithTheTraceOfTheCaller) {
  SeededRng rng(1);
  const TraceContext trace = StartTrace(kParent, rng);
  EXPECT_EQ(trace.trace_id, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(trace.parent_span_id, "b7ad6b7169203331");
  EXPECT_TRUE(trace.sampled);
  EXPECT_EQ(Traceparent(trace), "00-0af7651916cd43dd8448eb211c80319c-" + trace.span_id + "-01");
  EXPECT_NE(trace.span_id, trace.parent_span_id);
  EXPECT_FALSE(StartTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", rng).sampled);
  // A later version with more fields.
  EXPECT_EQ(StartTrace("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", rng).trace_id,
            trace.trace_id);
}

TEST(TraceContext, BeginsATraceWhereTheHeaderIsMalformed) {
  SeededRng rng(1);
  for (const char* header : {"", "x", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
                             "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                             "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                             "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                             "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"}) {
    const TraceContext trace = StartTrace(header, rng);
    EXPECT_EQ(trace.trace_id.size(), 32u) << header;
    EXPECT_NE(trace.trace_id, "0af7651916cd43dd8448eb211c80319c") << header;
    EXPECT_TRUE(trace.parent_span_id.empty()) << header;
  }
}

TEST(RetryBudget, ABurstThenATenthOfTheSequences) {
  RetryBudget budget;
  int taken = 0;
  while (budget.Take()) ++taken;
  EXPECT_EQ(taken, static_cast<int>(RetryBudget::kMax));
  for (int i = 0; i < 1000; ++i) {
    budget.SequenceStarted();
    if (budget.Take()) ++taken;
  }
  EXPECT_NEAR(taken, RetryBudget::kMax + 100, 1);
}

std::shared_ptr<RequestRecord> EndedRequest(const ManualClock& clock) {
  SeededRng rng(1);
  auto record = std::make_shared<RequestRecord>("req-1", StartTrace(kParent, rng), clock.Now(),
                                                absl::FromUnixSeconds(1'700'000'000));
  SequenceRecord sequence;
  sequence.prefill_node = "p0";
  sequence.decode_node = "d0";
  sequence.output_tokens = 7;
  sequence.timeline = Timeline(clock.Now());
  sequence.timeline.Add(Phase::kPrefill, clock.Now() + absl::Milliseconds(2));
  sequence.timeline.Add(Phase::kDecode, clock.Now() + absl::Milliseconds(5));
  record->Update(sequence);
  record->Finish("ok", absl::Milliseconds(5));
  return record;
}

TEST(SpanExporter, TheSpansOfARequestAreOneTreeWithoutGaps) {
  ManualClock clock;
  const Json body = Json::parse(SpansJson({EndedRequest(clock)}));
  const Json& spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"];
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_EQ(spans[0]["parentSpanId"], "b7ad6b7169203331");
  EXPECT_EQ(spans[0]["startTimeUnixNano"], "1700000000000000000");
  EXPECT_EQ(spans[0]["endTimeUnixNano"], "1700000000005000000");
  for (size_t i = 1; i < 3; ++i) {
    EXPECT_EQ(spans[i]["traceId"], "0af7651916cd43dd8448eb211c80319c");
    EXPECT_EQ(spans[i]["parentSpanId"], spans[0]["spanId"]);
  }
  EXPECT_NE(spans[1]["spanId"], spans[2]["spanId"]);
  EXPECT_EQ(spans[1]["name"], "prefill");
  EXPECT_EQ(spans[1]["endTimeUnixNano"], spans[2]["startTimeUnixNano"]);
  EXPECT_EQ(spans[2]["endTimeUnixNano"], spans[0]["endTimeUnixNano"]);
}

TEST(SpanExporter, PostsWhatItIsGivenAndCountsWhatNobodyTakes) {
  namespace asio = boost::asio;
  asio::io_context context;
  asio::ip::tcp::acceptor acceptor(context, {asio::ip::make_address("127.0.0.1"), 0});
  std::string request;
  std::thread collector([&] {
    asio::ip::tcp::socket socket(context);
    acceptor.accept(socket);
    asio::streambuf buffer;
    // The last bytes of the body.
    asio::read_until(socket, buffer, "]}]}");
    request.assign(asio::buffers_begin(buffer.data()), asio::buffers_end(buffer.data()));
    asio::write(socket,
                asio::buffer(std::string("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")));
    acceptor.close();
  });
  Counter exported, dropped;
  const auto exporter =
      SpanExporter::Start(
          "http://127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()) + "/v1/traces",
          {exported, dropped})
          .value();
  ManualClock clock;
  exporter->Export(EndedRequest(clock));
  collector.join();
  EXPECT_THAT(request, testing::StartsWith("POST /v1/traces HTTP/1.1\r\n"));
  EXPECT_THAT(request, testing::HasSubstr("application/json"));
  EXPECT_THAT(request, testing::HasSubstr("req-1"));
  exporter->Export(EndedRequest(clock));
  for (int i = 0; i < 1000 && dropped.value() == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(exported.value(), 1);
  EXPECT_EQ(dropped.value(), 1);
}

TEST(SpanExporter, EndpointsThatAreNotPlainHttpAreRefused) {
  Counter counter;
  for (const char* endpoint :
       {"", "https://x/v1", "http://", "http://host", "http:///x", "host:1"}) {
    EXPECT_FALSE(SpanExporter::Start(endpoint, {counter, counter}).ok()) << endpoint;
  }
}

}  // namespace
}  // namespace baton::router
