// Sends the requests of a plan at their times and records what comes back.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "bench/load/http_target.h"
#include "bench/load/progress.h"
#include "bench/load/request_record.h"

namespace baton::bench {

struct LoadPlan {
  HttpTarget target;
  boost::asio::ip::tcp::resolver::results_type addresses;
  std::string path;
  // When request i is to be sent, in seconds from the start; ascending. Its size is the number of
  // requests.
  std::vector<double> send_at_s;
  // JSON body of request i; called once, just before it is sent.
  std::function<std::string(size_t)> body;
  // For records of servers that report no usage.
  std::function<int64_t(size_t)> prompt_tokens;
  int max_concurrency = 0;  // 0: no limit
  absl::Duration request_timeout = absl::Minutes(10);
};

struct LoadResult {
  std::vector<RequestRecord> records;  // in the order of the plan
  double duration_s = 0;               // from the start to the end of the last request
};

// Runs on the calling thread until every request has ended. Open loop: a request is sent at its
// time whatever the others do, unless max_concurrency holds it back; scheduled and actual times are
// both recorded. Connections are kept and used again. `progress` must outlive the call.
LoadResult RunLoad(const LoadPlan& plan, Progress& progress);

}  // namespace baton::bench
