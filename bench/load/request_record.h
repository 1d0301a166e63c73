// What the client saw of one request. Times are seconds on one monotonic clock, 0 at the start of
// the run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace baton::bench {

struct RequestRecord {
  bool success = false;
  std::string error;  // why not

  double scheduled_s = 0;     // when the plan wanted it sent
  double sent_s = 0;          // when its first byte was handed to the system
  double end_s = 0;           // last chunk with a choice; for a failed request when it failed
  double ttft_s = 0;          // first token chunk - sent
  double ttst_s = -1;         // second token chunk - sent; -1 where there was none
  std::vector<double> itl_s;  // gaps between token chunks

  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  // The server sent no usage: prompt_tokens is what the dataset wanted, output_tokens the number of
  // token chunks.
  bool tokens_estimated = false;
  std::string text;

  double e2el_s() const { return end_s - sent_s; }
  // Time per output token after the first; 0 for an answer of one token.
  double tpot_s() const {
    return output_tokens > 1 ? (e2el_s() - ttft_s) / static_cast<double>(output_tokens - 1) : 0;
  }
};

}  // namespace baton::bench
