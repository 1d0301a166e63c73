// The inner loops of one ISA level, as a table of functions on raw pointers.
//
// This header is included by translation units that are compiled for different instruction sets, so
// it holds only plain data: an inline function or template here could be compiled for AVX-512 and
// linked for everybody. The numerics of each function are those of docs/numerics.md; all tables
// compute the same bits.
#pragma once

#include <stdint.h>

namespace baton::device::kernels {

// Rows that one strip of a packed weight holds, and input columns that share one activation scale.
enum : int32_t { kStripRows = 16, kGroupCols = 32, kTileKeys = 64, kSpanKeys = 256 };

// What one row of activations takes per group once it is quantised: 32 int8, the scale, the sum of
// the int8 times the scale (float), and the sum times -8 (int32).
enum : int32_t { kGroupRowBytes = 44 };

// Forms of packed weights; packed_weight.h describes every byte.
enum class Form : uint8_t { kW4Min, kW4, kW8, kF32, kF16, kBF16 };

// A packed weight, or a range of it.
struct PackedView {
  Form form;
  int64_t rows;    // outputs
  int64_t cols;    // inputs
  int64_t strips;  // ceil(rows / 16)
  int64_t strip_bytes;
  const uint8_t* data;
};

// Rows of activations as a linear layer reads them: int8 with a scale per group of 32, or float.
//
// Quantised rows lie in tiles of KernelTable::tile_rows rows, the last one smaller. In a tile of T
// rows each group takes T * 44 bytes: [8 quads][T rows][4 int8] (KernelTable::row_major: [T
// rows][32 int8]), [T] scale, [T] scale * sum, [T] -8 * sum. So row r's tile begins at
// r * cols / 32 * 44 where r is a multiple of tile_rows.
struct Activations {
  const uint8_t* tiles;  // 64-byte aligned
  const float* x;        // [rows, cols], for the float forms
  int64_t x_stride;
  int64_t cols;
  int64_t rows;
};

// How a gated layer joins gate and up: silu(g) * u, or gelu(g) * u by the tanh form.
enum class Gate : uint8_t { kSilu, kGeluTanh };

// Where results go: out[t * stride + column], `cols` of them.
struct Output {
  float* data;
  int64_t stride;
  int64_t cols;
  const float* bias;  // may be null
  bool accumulate;
  Gate gate = Gate::kSilu;  // of a gated layer
};

// What keys and values are stored as.
enum class KvNumber : uint8_t { kF32, kF16, kBF16 };

// One KV head of one sequence: base pointers of the layer's keys and values, and the block table.
struct KvHead {
  const uint8_t* layer_base;
  int64_t block_bytes;  // of keys and values of one block in this layer
  int64_t key_offset;   // of this head within a block
  int64_t value_offset;
  const int32_t* block_table;
  int32_t block_tokens;
  int32_t head_dim;
  int32_t value_dim;
  bool latent;  // no values are stored: they are the last value_dim numbers of the key
  KvNumber number;
};

// The keys [first, end) of a head that are attended next: a hint. `head` null: not known. It is of
// the same layer's cache.
struct KvAhead {
  const KvHead* head;
  int64_t first;
  int64_t end;
};

// Query rows that share one KV head. Row i sees the keys [0, limits[i]), with a window above 0 only
// the last `window` of them.
struct QueryRows {
  const float* const* query;  // [count] -> [head_dim]
  const int64_t* limits;      // [count]
  int32_t count;
  float scale;
  int64_t window;
};

// Softmax state of `count` rows: highest score, sum of weights, weighted values [count][value_dim
// rounded up to 16].
struct SoftmaxState {
  float* highest;
  float* sum;
  float* values;
};

struct KernelTable {
  const char* isa;
  int32_t tile_rows;  // of quantised activations
  bool row_major;     // how the int8 of a tile's group lie
  // Rows from which unpacking weights into panels pays at this level, however the chip is set.
  int32_t panel_rows_min;
  void (*rms_norm)(const float* in, const float* gain, float epsilon, int64_t cols, float* out);
  // Quantises one row as row `row` of a tile of `tile_rows` rows.
  void (*quantize)(const float* in, int64_t cols, int32_t row, int32_t tile_rows, uint8_t* tile);
  // out = strips [begin, end) of weight times all rows. `panels`: unpack each strip once into
  // `scratch`, two strips of 512 bytes a group, 64-byte aligned; the bits are the same.
  void (*linear)(const PackedView& weight, int64_t begin, int64_t end, const Activations& in,
                 const Output& out, bool panels, uint8_t* scratch);
  // out = activated gate (out.gate) * up for strips [begin, end) of both.
  void (*gated)(const PackedView& gate, const PackedView& up, int64_t begin, int64_t end,
                const Activations& in, const Output& out, bool panels, uint8_t* scratch);
  // out[i] = silu(gate[i]) * up[i], with the bits of `gated`.
  void (*silu_times)(const float* gate, const float* up, int64_t n, float* out);
  // The same of gelu(gate[i]).
  void (*gelu_times)(const float* gate, const float* up, int64_t n, float* out);
  // out[i] = g * sigmoid(alpha g) * (u + 1) of g = min(gate[i], limit) and u = up[i] clamped to
  // +-limit.
  void (*clamped_swiglu)(const float* gate, const float* up, float limit, float alpha, int64_t n,
                         float* out);
  // out[i] = fma(factor, in[i], out[i]).
  void (*add_scaled)(const float* in, float factor, int64_t n, float* out);
  // Rotates one head in place; `interleaved` pairs (2i, 2i+1), otherwise (i, i + half).
  void (*rope)(float* head, const float* cosines, const float* sines, int32_t half,
               bool interleaved);
  // Rounds n floats to fp16.
  void (*to_half)(const float* in, int64_t n, uint16_t* out);
  // Rounds n floats to bfloat16, magnitudes below 2^-50 to +0.
  void (*to_bfloat)(const float* in, int64_t n, uint16_t* out);
  // Attends rows to the keys [span * 256, min((span + 1) * 256, limit)) with fresh state. Rows
  // whose limit lies before the span get sum 0. What `ahead` names may be fetched. `scratch`,
  // 64-byte aligned, holds a tile of keys and values as floats, 16 floats a row, and where numbers
  // are bfloat16 the rounded queries and a tile of scores: 64 * 4 * (padded head_dim + padded
  // value_dim) + 64 * count bytes, and 4 * count
  // * (head_dim rounded up to 32) + 8192 for bfloat16, with count rounded up to 16.
  void (*attend_span)(const KvHead& head, const QueryRows& rows, int64_t span, const KvAhead& ahead,
                      const SoftmaxState& state, uint8_t* scratch);
  // Merges one row's state of a later span into `into`; a sum of 0 on either side is the neutral
  // element.
  void (*merge)(float* into_highest, float* into_sum, float* into_values, float highest, float sum,
                const float* values, int32_t padded_dim);
  // out = values / sum.
  void (*finish)(const float* values, float sum, int32_t value_dim, float* out);
  // For tests: the polynomial exp of n values.
  void (*exp)(const float* in, int64_t n, float* out);
};

}  // namespace baton::device::kernels
