// The threads that everything of the router runs on: one event loop each. What belongs to one
// request stays on one loop and so needs no locks.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace baton::router {

using Executor = boost::asio::io_context::executor_type;

class EventLoops {
 public:
  explicit EventLoops(int threads);
  ~EventLoops();

  // The loops in turn. Thread-safe.
  boost::asio::io_context& Next();
  boost::asio::io_context& first() { return loops_.front()->context; }
  // For work that would hold a loop up: parsing and tokenising long bodies.
  boost::asio::thread_pool& workers() { return workers_; }

  // Whether every loop has run something within the last `limit`. Thread-safe.
  bool Alive(absl::Duration limit) const;
  // Joins the threads, then runs on the calling thread what is still queued and ready. Idempotent.
  void Stop();

 private:
  struct Loop {
    Loop() : context(1), ticker(context) {}
    boost::asio::io_context context;
    boost::asio::steady_timer ticker;
    std::atomic<int64_t> last_tick_ns{0};
    std::thread thread;
  };
  static void Tick(Loop* loop);

  std::vector<std::unique_ptr<Loop>> loops_;
  boost::asio::thread_pool workers_{1};
  std::atomic<uint64_t> next_{0};
};

}  // namespace baton::router
