// What is sent: prompts and where they come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace baton::bench {

struct Prompt {
  std::string text;
  int64_t input_tokens = 0;   // wanted by the dataset
  int64_t output_tokens = 1;  // max_tokens of the request
  double send_at_s = 0;       // only of a trace: relative to its first request
};

// A dataset that is ready to be sent.
struct PromptSet {
  std::vector<Prompt> prompts;
  bool has_times = false;  // send_at_s is set
  // How exact the lengths are, for the report: "exact (server's /tokenize)", "approximate: ...".
  std::string length_note;
};

}  // namespace baton::bench
