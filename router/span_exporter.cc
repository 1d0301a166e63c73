#include "router/span_exporter.h"

#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/rng.h"

namespace baton::router {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using nlohmann::json;

constexpr size_t kBatchMax = 64;  // requests in one export
constexpr std::chrono::seconds kPostTimeout{2};

json Attribute(const char* key, const std::string& value) {
  return {{"key", key}, {"value", {{"stringValue", value}}}};
}
json Attribute(const char* key, int64_t value) {
  return {{"key", key}, {"value", {{"intValue", std::to_string(value)}}}};
}

std::string Nanos(absl::Time time) { return std::to_string(absl::ToUnixNanos(time)); }

// Different for each phase of each sequence, and always the same for the same one.
std::string ChildSpanId(const std::string& span_id, int32_t choice, size_t phase) {
  uint64_t key = CounterRandom(static_cast<uint64_t>(choice) + 1, phase + 1);
  for (const char c : span_id) key = CounterRandom(key, static_cast<uint8_t>(c));
  return absl::StrFormat("%016x", key | 1);
}

void AddPhases(const RequestRecord& record, const SequenceRecord& sequence, json* spans) {
  absl::Time begin = record.arrived_wall() + (sequence.timeline.begin() - record.arrived());
  for (size_t i = 0; i < kPhases; ++i) {
    const auto phase = static_cast<Phase>(i);
    const absl::Duration spent = sequence.timeline.spent(phase);
    if (spent <= absl::ZeroDuration()) continue;
    const bool prefills = phase == Phase::kQueuePrefill || phase == Phase::kPrefill;
    json span = {{"traceId", record.trace().trace_id},
                 {"spanId", ChildSpanId(record.trace().span_id, sequence.choice, i)},
                 {"parentSpanId", record.trace().span_id},
                 {"name", std::string(PhaseName(phase))},
                 {"kind", 1},
                 {"startTimeUnixNano", Nanos(begin)},
                 {"endTimeUnixNano", Nanos(begin + spent)}};
    span["attributes"] = {
        Attribute("baton.node", prefills ? sequence.prefill_node : sequence.decode_node),
        Attribute("baton.choice", int64_t{sequence.choice}),
        Attribute("baton.retries", int64_t{sequence.retries})};
    spans->push_back(std::move(span));
    begin += spent;
  }
}

void AddRequest(const RequestRecord& record, json* spans) {
  const RequestRecord::Contents contents = record.contents();
  const TraceContext& trace = record.trace();
  int64_t output_tokens = 0;
  for (const SequenceRecord& sequence : contents.sequences) output_tokens += sequence.output_tokens;
  json span = {{"traceId", trace.trace_id},
               {"spanId", trace.span_id},
               {"name", "request"},
               {"kind", 2},
               {"startTimeUnixNano", Nanos(record.arrived_wall())},
               {"endTimeUnixNano", Nanos(record.arrived_wall() + contents.took)},
               {"status", {{"code", contents.state == "ok" ? 1 : 2}}}};
  if (!trace.parent_span_id.empty()) span["parentSpanId"] = trace.parent_span_id;
  span["attributes"] = {Attribute("baton.request_id", record.id()),
                        Attribute("baton.state", contents.state),
                        Attribute("gen_ai.usage.input_tokens", contents.prompt_tokens),
                        Attribute("gen_ai.usage.output_tokens", output_tokens)};
  spans->push_back(std::move(span));
  for (const SequenceRecord& sequence : contents.sequences) AddPhases(record, sequence, spans);
}

asio::awaitable<void> Exchange(asio::io_context& context, std::string host, std::string port,
                               http::request<http::string_body> request, bool* taken) {
  asio::ip::tcp::resolver resolver(context);
  const auto addresses = co_await resolver.async_resolve(host, port, asio::use_awaitable);
  beast::tcp_stream stream(context);
  stream.expires_after(kPostTimeout);
  co_await stream.async_connect(addresses, asio::use_awaitable);
  co_await http::async_write(stream, request, asio::use_awaitable);
  beast::flat_buffer buffer;
  http::response<http::string_body> response;
  co_await http::async_read(stream, buffer, response, asio::use_awaitable);
  *taken = response.result_int() / 100 == 2;
}

}  // namespace

std::string SpansJson(const std::deque<std::shared_ptr<const RequestRecord>>& records) {
  json spans = json::array();
  for (const auto& record : records) AddRequest(*record, &spans);
  const json body = {
      {"resourceSpans",
       {{{"resource", {{"attributes", {Attribute("service.name", std::string("baton-router"))}}}},
         {"scopeSpans", {{{"scope", {{"name", "baton"}}}, {"spans", std::move(spans)}}}}}}}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<std::unique_ptr<SpanExporter>> SpanExporter::Start(absl::string_view endpoint,
                                                                  Counters counters) {
  constexpr absl::string_view kScheme = "http://";
  const absl::string_view rest = endpoint.substr(std::min(kScheme.size(), endpoint.size()));
  const size_t slash = rest.find('/');
  const absl::string_view authority = rest.substr(0, slash);
  const size_t colon = authority.rfind(':');
  const absl::string_view host = authority.substr(0, colon);
  if (endpoint.substr(0, kScheme.size()) != kScheme || slash == absl::string_view::npos ||
      host.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("otlp_endpoint: ", endpoint, ": allowed is http://host[:port]/path"));
  }
  Endpoint parsed{
      std::string(host),
      colon == absl::string_view::npos ? "80" : std::string(authority.substr(colon + 1)),
      std::string(rest.substr(slash))};
  return std::unique_ptr<SpanExporter>(new SpanExporter(std::move(parsed), counters));
}

SpanExporter::SpanExporter(Endpoint endpoint, Counters counters)
    : endpoint_(std::move(endpoint)), counters_(counters), thread_([this] { Loop(); }) {}

SpanExporter::~SpanExporter() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  thread_.join();
}

void SpanExporter::Export(std::shared_ptr<const RequestRecord> record) {
  if (!record->trace().sampled) return;
  MutexLock lock(mutex_);
  if (queue_.size() >= kQueueMax) {
    counters_.dropped.Add();
    return;
  }
  queue_.push_back(std::move(record));
  wake_.notify_one();
}

void SpanExporter::Loop() {
  bool told = false;
  while (true) {
    std::deque<std::shared_ptr<const RequestRecord>> batch;
    {
      MutexLock lock(mutex_);
      wake_.wait(mutex_,
                 [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stop_ || !queue_.empty(); });
      if (stop_) return;
      while (!queue_.empty() && batch.size() < kBatchMax) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    const bool taken = Post(SpansJson(batch));
    (taken ? counters_.exported : counters_.dropped).Add(static_cast<int64_t>(batch.size()));
    if (!taken && !std::exchange(told, true)) {
      spdlog::warn("otlp_endpoint {}:{} does not take spans; they are dropped", endpoint_.host,
                   endpoint_.port);
    }
    told = told && !taken;
  }
}

bool SpanExporter::Post(const std::string& body) const {
  http::request<http::string_body> request(http::verb::post, endpoint_.path, 11);
  request.set(http::field::host, endpoint_.host);
  request.set(http::field::content_type, "application/json");
  request.set(http::field::connection, "close");
  request.body() = body;
  request.prepare_payload();
  asio::io_context context(1);
  bool taken = false;
  asio::co_spawn(context,
                 Exchange(context, endpoint_.host, endpoint_.port, std::move(request), &taken),
                 [](std::exception_ptr) {});
  context.run_for(2 * kPostTimeout);
  return taken;
}

}  // namespace baton::router
