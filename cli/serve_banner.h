// What `baton serve` says when its cluster is ready: what was chosen, and why.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace baton::cli {

struct BannerFacts {
  std::string version;
  absl::Duration took;
  std::string model;     // path
  std::string model_id;  // in the API
  std::string family;    // "llama", or why it is not known
  int64_t model_bytes = 0;
  int64_t block_bytes = 0;  // of the KV pool; 0: not known
  int32_t block_tokens = 0;
  int64_t kv_bytes = 0;                 // configured; 0: by the machine
  std::string isa;                      // forced; empty: the best
  std::vector<std::string> isa_levels;  // that this machine has, best first
  int cpus = 0;
  int threads = 0;                                        // configured; 0: the CPUs shared out
  std::vector<std::map<std::string, std::string>> nodes;  // their READY lines
  std::string url;                                        // http://host:port
  std::string grpc;
};

// Lines for a person, with the command that asks a first question.
std::string Banner(const BannerFacts& facts);

// "1.5 GiB"
std::string BytesText(int64_t bytes);

}  // namespace baton::cli
