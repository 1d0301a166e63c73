// A model's files: can they be read, are they of a family that is supported, is there memory for
// them.
#pragma once

#include <cstdint>
#include <string>

#include "cli/doctor/finding.h"

namespace baton::cli {

struct ModelNeeds {
  int nodes = 1;            // that this machine is to run; each packs the weights for itself
  int64_t kv_bytes = 0;     // pool of each; 0: the default, a quarter of what is free
  int64_t max_context = 0;  // 0: the model's
  int32_t block_tokens = 32;
  std::string kv_dtype = "f16";
  int64_t memory_available = 0;  // bytes
};

// `model` as --model takes it.
void CheckModel(const std::string& model, const ModelNeeds& needs, Findings* findings);

}  // namespace baton::cli
