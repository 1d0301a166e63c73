#include "router/event_loops.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <exception>

namespace baton::router {
namespace {

constexpr std::chrono::milliseconds kTick{200};

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void RunLoop(boost::asio::io_context* context) {
  // One request's exception must not take the loop with it: it is logged, and the loop goes on.
  while (!context->stopped()) {
    try {
      context->run();
    } catch (const std::exception& error) {
      spdlog::error("event loop: {}", error.what());
    }
  }
}

}  // namespace

EventLoops::EventLoops(int threads) {
  for (int i = 0; i < threads; ++i) {
    loops_.push_back(std::make_unique<Loop>());
    Loop* loop = loops_.back().get();
    loop->last_tick_ns = NowNs();
    Tick(loop);
    loop->thread = std::thread(RunLoop, &loop->context);
  }
}

EventLoops::~EventLoops() { Stop(); }

void EventLoops::Tick(Loop* loop) {
  loop->last_tick_ns = NowNs();
  loop->ticker.expires_after(kTick);
  loop->ticker.async_wait([loop](const boost::system::error_code& error) {
    if (!error) Tick(loop);
  });
}

boost::asio::io_context& EventLoops::Next() {
  return loops_[next_.fetch_add(1) % loops_.size()]->context;
}

bool EventLoops::Alive(absl::Duration limit) const {
  const int64_t oldest = NowNs() - absl::ToInt64Nanoseconds(limit);
  for (const auto& loop : loops_) {
    if (loop->last_tick_ns.load() < oldest) return false;
  }
  return true;
}

void EventLoops::Stop() {
  workers_.stop();
  workers_.join();
  for (const auto& loop : loops_) loop->context.stop();
  for (const auto& loop : loops_) {
    if (loop->thread.joinable()) loop->thread.join();
  }
  // Tasks may queue others, also on other loops.
  for (size_t ran = 1; ran > 0;) {
    ran = 0;
    for (const auto& loop : loops_) {
      loop->context.restart();
      ran += loop->context.poll();
    }
  }
}

}  // namespace baton::router
