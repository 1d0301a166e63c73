// The op vocabulary: one Args struct per op. A Device checks the arguments once (op_checks.h) and
// then runs them.
//
// Matrices are float32 in device memory, one row per token of the batch. Ops that several chips
// fuse are fused in the vocabulary (a norm before a linear layer, gate-up-activation), so that a
// chip may quantise straight from registers; the reference computes them one after another. `out`
// never overlaps an input unless the comment says so.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "device/paged_kv.h"
#include "device/tensor.h"
#include "device/weight.h"

namespace baton::device {

// out[i] = row ids[i] of table, dequantised.
struct EmbedArgs {
  const Weight* table = nullptr;  // [vocab, hidden]
  absl::Span<const int32_t> ids;  // [n], each in [0, vocab)
  MatrixView out;                 // [n, hidden]
  float scale = 1;                // what every number is multiplied with
};

// Root mean square norm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * gain.
struct Norm {
  const float* gain = nullptr;  // [cols] in device memory; null: no norm is applied
  float epsilon = 0;
};

struct RmsNormArgs {
  ConstMatrixView in;  // [n, cols]
  Norm norm;
  MatrixView out;           // [n, cols], may be the same memory as in
  bool accumulate = false;  // add to out (a residual) instead of overwriting it
};

// out = norm(in) * weight^T + bias, for up to four weights that share the input (q, k and v for
// instance).
struct LinearArgs {
  struct Part {
    const Weight* weight = nullptr;  // [out_cols, in_cols]
    const float* bias = nullptr;     // [out_cols] in device memory, or null
    MatrixView out;                  // [n, out_cols]
    bool accumulate = false;         // add to out (a residual) instead of overwriting it
  };
  ConstMatrixView in;  // [n, in_cols]
  Norm norm;           // gain null: none
  absl::Span<const Part> parts;
};

// How a gated layer activates its gate g.
enum class Activation : uint8_t {
  kSilu,      // g * sigmoid(g)
  kGeluTanh,  // g / 2 * (1 + tanh(sqrt(2 / pi) * (g + 0.044715 g^3))) (Hendrycks & Gimpel 2016)
};

// out = activation(norm(in) * gate^T) * (norm(in) * up^T), elementwise (SwiGLU and GeGLU, Shazeer
// 2020).
struct GatedLinearArgs {
  ConstMatrixView in;            // [n, in_cols]
  Norm norm;                     // gain null: none
  const Weight* gate = nullptr;  // [out_cols, in_cols]
  const Weight* up = nullptr;    // [out_cols, in_cols]
  Activation activation = Activation::kSilu;
  MatrixView out;  // [n, out_cols]
};

// kInterleaved rotates the pairs (2i, 2i+1), as GGUF's llama files are permuted; kHalf rotates (i,
// i + rotary_dim/2).
enum class RopeStyle : uint8_t { kInterleaved, kHalf };

// Rotary position embedding (Su et al. 2021), in place, from a precomputed table.
struct RopeArgs {
  MatrixView x;  // [n, heads * head_dim], rotated in place
  int32_t head_dim = 0;
  int32_t rotary_dim = 0;  // even, <= head_dim; the rest of a head passes through
  RopeStyle style = RopeStyle::kInterleaved;
  ConstMatrixView table;  // [positions, rotary_dim]: cos of rotary_dim/2 frequencies, then sin
  absl::Span<const SequenceRows> sequences;
};

// Writes keys and values of the batch's rows to their places in the paged cache (rounded to the
// cache's dtype).
struct AppendKvArgs {
  ConstMatrixView key;    // [n, kv_heads * head_dim]
  ConstMatrixView value;  // [n, kv_heads * head_dim]; ignored by a latent cache
  PagedKvView kv;
  absl::Span<const SequenceRows> sequences;
};

// Causal softmax attention of each row over its sequence's own history, the row itself included.
// Query head h reads KV head h / (query_heads / kv_heads) (GQA, Ainslie et al. 2023).
struct AttentionArgs {
  ConstMatrixView query;  // [n, query_heads * head_dim]
  PagedKvView kv;         // new rows already appended
  absl::Span<const SequenceRows> sequences;
  int32_t query_heads = 0;
  float scale = 0;  // usually 1 / sqrt(head_dim)
  MatrixView out;   // [n, query_heads * value_dim]
  // [query_heads] in device memory, or null. A sink is the score of a key without a value: it takes
  // its share of the softmax and adds nothing (Xiao et al. 2023; learned per head in gpt-oss).
  const float* sinks = nullptr;
  // 0: a row sees all positions up to its own. Otherwise the last `window` of them (Beltagy et al.
  // 2020).
  int64_t window = 0;
};

// One linear layer per head, without norm: head h of `out` = head h of `in` times weights[h]^T.
// Head h of a matrix begins at its column h * step.
struct HeadLinearArgs {
  ConstMatrixView in;  // [n, ...]
  int64_t in_step = 0;
  absl::Span<const Weight* const> weights;  // one a head, all [out_cols, in_cols]
  MatrixView out;                           // [n, ...]
  int64_t out_step = 0;
};

// Copies `cols` numbers a head: head h of `in` and `out` begins at their column h * step.
struct CopyHeadsArgs {
  ConstMatrixView in;  // [n, ...]
  int64_t in_step = 0;
  MatrixView out;  // [n, ...]
  int64_t out_step = 0;
  int32_t heads = 0;
  int64_t cols = 0;
};

// How an expert joins its gate g and its up u.
enum class ExpertActivation : uint8_t {
  kSilu,           // g * sigmoid(g) * u
  kClampedSwiglu,  // gpt-oss: g at most limit, u within +-limit; g * sigmoid(alpha g) * (u + 1)
};

// One expert of a mixture: down(activation(gate(x), up(x))). Biases are [rows of their weight] in
// device memory, or null.
struct Expert {
  const Weight* gate = nullptr;  // [intermediate, in_cols]
  const Weight* up = nullptr;    // [intermediate, in_cols]
  const Weight* down = nullptr;  // [out_cols, intermediate]
  const float* gate_bias = nullptr;
  const float* up_bias = nullptr;
  const float* down_bias = nullptr;
};

// out[r] += sum over the experts chosen for row r of weight * expert(norm(in[r])), one after the
// other in the order of `chosen` (Shazeer et al. 2017). Which experts, in which order and with
// which weights is the caller's decision, for each row on its own, so a row's bits do not depend on
// the batch.
struct ExpertsArgs {
  ConstMatrixView in;                // [n, in_cols]
  Norm norm;                         // gain null: none
  absl::Span<const Expert> experts;  // all of the same shape
  int32_t experts_per_row = 0;
  absl::Span<const int32_t> chosen;  // [n * experts_per_row], each in [0, experts)
  absl::Span<const float> weights;   // [n * experts_per_row]
  ExpertActivation activation = ExpertActivation::kSilu;
  float limit = 0;  // kClampedSwiglu, above 0
  float alpha = 0;  // kClampedSwiglu
  MatrixView out;   // [n, out_cols], added to; may be the same memory as in
};

// out[i] = in[rows[i]].
struct GatherRowsArgs {
  ConstMatrixView in;
  absl::Span<const int32_t> rows;  // [m], each in [0, in.rows)
  MatrixView out;                  // [m, in.cols]
};

}  // namespace baton::device
