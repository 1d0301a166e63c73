#include "bench/kernels/op_timing.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace baton::bench {
namespace {

using device::DType;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Calls op(i) for i = 0, 1, ... for a fifth of a second, at least five times; the shortest time.
template <typename Op>
absl::StatusOr<double> BestSeconds(const Op& op) {
  constexpr double kLongest = 0.2;
  BATON_RETURN_IF_ERROR(op(0));  // touches everything once
  const double begin = Now();
  double best = std::numeric_limits<double>::infinity();
  for (int64_t i = 1; i <= 5 || Now() - begin < kLongest; ++i) {
    const double start = Now();
    BATON_RETURN_IF_ERROR(op(i));
    best = std::min(best, Now() - start);
  }
  return best;
}

void FillUniform(SeededRng& rng, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(rng.Next() % 2001) / 1000.0f - 1.0f;
  }
}

// Random bytes in the stored form of `dtype`, with scales of about 0.01.
std::vector<uint8_t> RandomStored(SeededRng& rng, DType dtype, int64_t rows, int64_t cols) {
  const int64_t block = device::BlockBytes(dtype);
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * device::RowBytes(dtype, cols)));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng.Next());
  const uint16_t half = device::FloatToHalf(0.01f);
  const size_t count = bytes.size() / static_cast<size_t>(block);
  for (size_t i = 0; i < count; ++i) {
    uint8_t* at = bytes.data() + i * block;
    if (dtype == DType::kF32) {
      FillUniform(rng, reinterpret_cast<float*>(at), 1);
    } else if (dtype == DType::kBF16) {
      at[1] = 0x3c;  // about 0.01
    } else {
      __builtin_memcpy(at, &half, 2);
      if (dtype == DType::kQ4_1) __builtin_memcpy(at + 2, &half, 2);
    }
  }
  return bytes;
}

// Equal copies of a random weight, enough to be cold each time one comes round.
absl::StatusOr<std::vector<std::unique_ptr<device::Weight>>> Weights(device::Device& device,
                                                                     DType dtype, int64_t rows,
                                                                     int64_t cols,
                                                                     int64_t cold_bytes) {
  SeededRng rng(1);
  const std::vector<uint8_t> stored = RandomStored(rng, dtype, rows, cols);
  std::vector<std::unique_ptr<device::Weight>> weights;
  int64_t bytes = 0;
  do {
    BATON_ASSIGN_OR_RETURN(std::unique_ptr<device::Weight> weight,
                           device.Prepare({dtype, rows, cols, stored.data()}));
    bytes += weight->packed_bytes();
    weights.push_back(std::move(weight));
  } while (bytes < cold_bytes);
  return weights;
}

absl::StatusOr<device::Buffer> RandomFloats(device::Device& device, int64_t count) {
  BATON_ASSIGN_OR_RETURN(device::Buffer buffer,
                         device.Allocate(static_cast<size_t>(count) * sizeof(float)));
  SeededRng rng(2);
  FillUniform(rng, buffer.floats(), count);
  return buffer;
}

}  // namespace

absl::StatusOr<OpTiming> TimeLinear(device::Device& device, DType dtype, int64_t rows,
                                    int64_t in_cols, int64_t out_cols, int64_t cold_bytes) {
  BATON_ASSIGN_OR_RETURN(const auto weights, Weights(device, dtype, out_cols, in_cols, cold_bytes));
  BATON_ASSIGN_OR_RETURN(const device::Buffer in, RandomFloats(device, rows * in_cols));
  BATON_ASSIGN_OR_RETURN(const device::Buffer out, RandomFloats(device, rows * out_cols));
  BATON_ASSIGN_OR_RETURN(
      const double seconds, BestSeconds([&](int64_t i) {
        const device::LinearArgs::Part part{.weight = weights[i % weights.size()].get(),
                                            .out = out.matrix(rows, out_cols)};
        return device.Linear({.in = in.matrix(rows, in_cols), .parts = {&part, 1}});
      }));
  return OpTiming{absl::StrCat("linear ", std::string(device::DTypeName(dtype)), " ", in_cols, "x",
                               out_cols, ", ", rows, " rows"),
                  seconds, static_cast<double>(rows * in_cols * out_cols),
                  static_cast<double>(weights[0]->packed_bytes())};
}

absl::StatusOr<OpTiming> TimeGatedLinear(device::Device& device, DType dtype, int64_t rows,
                                         int64_t in_cols, int64_t out_cols, int64_t cold_bytes) {
  BATON_ASSIGN_OR_RETURN(const auto gates,
                         Weights(device, dtype, out_cols, in_cols, cold_bytes / 2));
  BATON_ASSIGN_OR_RETURN(const auto ups, Weights(device, dtype, out_cols, in_cols, cold_bytes / 2));
  BATON_ASSIGN_OR_RETURN(const device::Buffer in, RandomFloats(device, rows * in_cols));
  BATON_ASSIGN_OR_RETURN(const device::Buffer gain, RandomFloats(device, in_cols));
  BATON_ASSIGN_OR_RETURN(const device::Buffer out, RandomFloats(device, rows * out_cols));
  BATON_ASSIGN_OR_RETURN(
      const double seconds, BestSeconds([&](int64_t i) {
        return device.GatedLinear({.in = in.matrix(rows, in_cols),
                                   .norm = {.gain = gain.floats(), .epsilon = 1e-5f},
                                   .gate = gates[i % gates.size()].get(),
                                   .up = ups[i % ups.size()].get(),
                                   .out = out.matrix(rows, out_cols)});
      }));
  return OpTiming{absl::StrCat("gated ", std::string(device::DTypeName(dtype)), " ", in_cols, "x",
                               out_cols, ", ", rows, " rows"),
                  seconds, 2.0 * static_cast<double>(rows * in_cols * out_cols),
                  2.0 * static_cast<double>(gates[0]->packed_bytes())};
}

absl::StatusOr<OpTiming> TimeAttention(device::Device& device, const AttentionShape& shape) {
  const int64_t tokens = shape.context + shape.rows;
  const int64_t blocks = (tokens + shape.block_tokens - 1) / shape.block_tokens;
  const int64_t query_cols = int64_t{shape.query_heads} * shape.head_dim;
  const int64_t rows = int64_t{shape.sequences} * shape.rows;
  const device::KvGeometry geometry{.layers = 1,
                                    .kv_heads = shape.kv_heads,
                                    .head_dim = shape.head_dim,
                                    .block_tokens = shape.block_tokens,
                                    .dtype = shape.dtype};
  const int64_t kv_bytes = shape.sequences * blocks * geometry.BlockLayerBytes();
  BATON_ASSIGN_OR_RETURN(const device::Buffer kv, device.Allocate(static_cast<size_t>(kv_bytes)));
  uint16_t* half = static_cast<uint16_t*>(kv.data());
  SeededRng rng(3);
  for (int64_t i = 0; i < kv_bytes / 2; ++i) {
    const float value = static_cast<float>(rng.Next() % 2001) / 1000.0f - 1.0f;
    half[i] = device::FloatToHalf(value);
    if (shape.dtype == DType::kBF16) {
      __builtin_memcpy(half + i, reinterpret_cast<const char*>(&value) + 2, 2);
    }
  }
  std::vector<int32_t> table(static_cast<size_t>(shape.sequences * blocks));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  std::vector<device::SequenceRows> sequences;
  for (int32_t s = 0; s < shape.sequences; ++s) {
    sequences.push_back({.row_begin = s * shape.rows,
                         .row_count = shape.rows,
                         .position = shape.context,
                         .block_table = table.data() + s * blocks,
                         .block_count = static_cast<int32_t>(blocks)});
  }
  BATON_ASSIGN_OR_RETURN(const device::Buffer query, RandomFloats(device, rows * query_cols));
  BATON_ASSIGN_OR_RETURN(const device::Buffer out, RandomFloats(device, rows * query_cols));
  BATON_ASSIGN_OR_RETURN(
      const double seconds, BestSeconds([&](int64_t) {
        return device.Attention({.query = query.matrix(rows, query_cols),
                                 .kv = {.geometry = geometry,
                                        .layer_base = static_cast<uint8_t*>(kv.data()),
                                        .blocks = static_cast<int32_t>(table.size())},
                                 .sequences = sequences,
                                 .query_heads = shape.query_heads,
                                 .scale = 0.125f,
                                 .out = out.matrix(rows, query_cols)});
      }));
  const double keys = static_cast<double>(shape.context) + (shape.rows + 1) / 2.0;
  return OpTiming{absl::StrCat("attention ", shape.sequences, " x ", shape.rows, " rows after ",
                               shape.context, ", ", std::string(device::DTypeName(shape.dtype))),
                  seconds, 2.0 * static_cast<double>(rows * query_cols) * keys,
                  static_cast<double>(kv_bytes)};
}

}  // namespace baton::bench
