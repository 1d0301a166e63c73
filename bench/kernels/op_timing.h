// Ops of one device on random data, at given shapes, timed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "device/device.h"

namespace baton::bench {

// What one call of an op costs.
struct OpTiming {
  std::string op;         // "linear q4_1 576x1536, 8 rows"
  double seconds = 0;     // the shortest of the runs: other processes only ever add
  double macs = 0;        // multiply-accumulates of the call
  double read_bytes = 0;  // weights, or keys and values, that the call reads
};

// One Linear of [rows, in_cols] with a random weight [out_cols, in_cols]. So many different weights
// are used in turn that they do not fit into `cold_bytes` of cache; 0: always the same one.
absl::StatusOr<OpTiming> TimeLinear(device::Device& device, device::DType dtype, int64_t rows,
                                    int64_t in_cols, int64_t out_cols, int64_t cold_bytes);

// One GatedLinear, likewise.
absl::StatusOr<OpTiming> TimeGatedLinear(device::Device& device, device::DType dtype, int64_t rows,
                                         int64_t in_cols, int64_t out_cols, int64_t cold_bytes);

struct AttentionShape {
  int32_t query_heads = 9;
  int32_t kv_heads = 3;
  int32_t head_dim = 64;
  int32_t block_tokens = 32;
  int32_t sequences = 1;
  int32_t rows = 1;                           // new tokens of each sequence
  int64_t context = 0;                        // tokens before them
  device::DType dtype = device::DType::kF16;  // of keys and values, f16 or bf16
};
absl::StatusOr<OpTiming> TimeAttention(device::Device& device, const AttentionShape& shape);

}  // namespace baton::bench
