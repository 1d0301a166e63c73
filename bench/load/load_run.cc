#include "bench/load/load_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

#include "bench/load/answer_connection.h"

namespace baton::bench {
namespace {

namespace asio = boost::asio;
constexpr auto kTimerWait = asio::as_tuple(asio::use_awaitable);

// A file descriptor a connection; the usual soft limit of 1024 is too low for large runs.
void AllowManyConnections() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// One run. Everything happens on the thread of the io_context.
struct Run {
  Run(const LoadPlan& the_plan, Progress& the_progress)
      : plan(the_plan),
        progress(the_progress),
        slot_freed(context),
        start(RunClock::now()),
        result{.records = std::vector<RequestRecord>(the_plan.send_at_s.size()), .duration_s = 0} {}

  double NowS() const { return std::chrono::duration<double>(RunClock::now() - start).count(); }

  const LoadPlan& plan;
  Progress& progress;
  asio::io_context context{1};
  asio::steady_timer slot_freed;  // cancelled whenever a request ends
  RunClock::time_point start;
  LoadResult result;
  std::vector<std::unique_ptr<AnswerConnection>> idle;
  int64_t in_flight = 0;
  int64_t done = 0;
  int64_t failed = 0;
};

// Tries a kept connection first; one that the server has meanwhile closed is replaced once.
asio::awaitable<void> Exchange(Run* run, size_t index) {
  RequestRecord& record = run->result.records[index];
  const HttpRequest request = MakeRequest(run->plan.target, boost::beast::http::verb::post,
                                          run->plan.path, run->plan.body(index));
  record.prompt_tokens = run->plan.prompt_tokens(index);
  record.sent_s = run->NowS();
  const auto deadline = RunClock::now() + absl::ToChronoNanoseconds(run->plan.request_timeout);
  std::unique_ptr<AnswerConnection> connection;
  bool is_kept = !run->idle.empty();
  if (is_kept) {
    connection = std::move(run->idle.back());
    run->idle.pop_back();
  }
  AnswerConnection::Outcome outcome;
  for (;;) {
    if (connection == nullptr) {
      connection = std::make_unique<AnswerConnection>(run->context, run->start);
      outcome.status = co_await connection->Connect(run->plan.addresses, deadline);
      if (!outcome.status.ok()) break;
    }
    outcome = co_await connection->Exchange(request, &record, deadline);
    if (outcome.status.ok() || outcome.got_bytes || !is_kept) break;
    is_kept = false;
    connection.reset();
  }
  if (outcome.status.ok()) {
    record.success = true;
  } else {
    record.error = std::string(outcome.status.message());
    record.end_s = run->NowS();
  }
  if (outcome.reusable) run->idle.push_back(std::move(connection));
}

asio::awaitable<void> SendOne(Run* run, size_t index) {
  co_await Exchange(run, index);
  --run->in_flight;
  ++run->done;
  if (!run->result.records[index].success) ++run->failed;
  run->result.duration_s = std::max(run->result.duration_s, run->result.records[index].end_s);
  run->progress.Update(run->done, run->failed, run->in_flight, run->NowS());
  run->slot_freed.cancel();
}

asio::awaitable<void> SendAll(Run* run) {
  asio::steady_timer timer(run->context);
  for (size_t index = 0; index < run->plan.send_at_s.size(); ++index) {
    const double at_s = run->plan.send_at_s[index];
    if (at_s > run->NowS()) {
      timer.expires_at(run->start + std::chrono::duration_cast<RunClock::duration>(
                                        std::chrono::duration<double>(at_s)));
      co_await timer.async_wait(kTimerWait);
    }
    while (run->plan.max_concurrency > 0 && run->in_flight >= run->plan.max_concurrency) {
      run->slot_freed.expires_at(RunClock::time_point::max());
      co_await run->slot_freed.async_wait(kTimerWait);
    }
    run->result.records[index].scheduled_s = at_s;
    ++run->in_flight;
    asio::co_spawn(run->context, SendOne(run, index), asio::detached);
  }
}

}  // namespace

LoadResult RunLoad(const LoadPlan& plan, Progress& progress) {
  AllowManyConnections();
  Run run(plan, progress);
  asio::co_spawn(run.context, SendAll(&run), asio::detached);
  run.context.run();
  progress.Finish();
  return std::move(run.result);
}

}  // namespace baton::bench
