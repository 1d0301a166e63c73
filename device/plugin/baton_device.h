// The plugin ABI: how silicon that Baton does not know becomes one of its devices.
//
// A plugin is a shared library that exports one function, baton_device_plugin(), and returns one
// table of functions. A node loads it with `--device plugin:/path/libchip.so`; nothing else of the
// node changes. docs/port_a_chip.md goes through a port step by step, examples/device_plugin is a
// complete one, and `baton doctor --device plugin:...` runs the conformance suite over it.
//
// Language: plain C. No exception or longjmp may leave the plugin.
//
// Version: the host passes the version that it speaks; a plugin that does not speak it returns
// NULL, and the host says so. Within a version structs only grow at their end; table_bytes tells
// how far a table reaches.
//
// Threads: one thread at a time calls one device. Several devices of one plugin may be called at
// once.
//
// Memory: what allocate() returns is visible to the host at the returned address (a mapping of the
// chip's memory, or memory that both share), 64-byte aligned and zeroed. The host touches it only
// while no op of the device is under way. Arrays of an op's arguments (ids, sequences, parts, block
// tables) are host memory, valid until the op is complete.
//
// Matrices: float32, row-major, `stride` elements from row to row. `out` overlaps no input unless
// the op says so.
//
// Arguments: the host has checked shapes and ranges before it calls.
//
// Bits: for one row the same inputs must give the same bits whatever the batch around it; Baton
// promises its users that, and the suite checks it.
//
// Status: BATON_OK, or a failure of the request, which gets the text of last_error(). What
// supports() says no to is never called: the host computes it on its reference.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BATON_DEVICE_ABI_VERSION 1u

typedef struct baton_device baton_device;  // the plugin's own: one chip that was opened
typedef struct baton_weight baton_weight;  // the plugin's own: a weight in the chip's form

enum { BATON_OK = 0, BATON_OUT_OF_MEMORY = 1, BATON_FAILED = 2 };

// Element types of stored weights and of the KV cache; others may be added at the end. The
// quantised ones are GGUF's blocks of 32 weights: Q4_0 = fp16 d, 16 bytes of nibbles (low nibbles
// are elements 0..15), w = d * (q - 8); Q4_1 = fp16 d, fp16 m, 16 bytes, w = d * q + m; Q8_0 = fp16
// d, 32 signed bytes, w = d * q.
enum baton_dtype {
  BATON_F32 = 0,
  BATON_F16 = 1,
  BATON_BF16 = 2,
  BATON_Q8_0 = 4,
  BATON_Q4_0 = 5,
  BATON_Q4_1 = 6
};

enum baton_op {
  BATON_OP_EMBED = 0,
  BATON_OP_RMS_NORM = 1,
  BATON_OP_LINEAR = 2,
  BATON_OP_GATED_LINEAR = 3,
  BATON_OP_ROPE = 4,
  BATON_OP_APPEND_KV = 5,
  BATON_OP_ATTENTION = 6,
  BATON_OP_GATHER_ROWS = 7,
  BATON_OP_HEAD_LINEAR = 8,
  BATON_OP_COPY_HEADS = 9,
  BATON_OP_EXPERTS = 10,
  BATON_OP_COUNT = 11
};

typedef struct {
  float* data;
  int64_t rows, cols, stride;
} baton_matrix;

// A weight as the file stores it, in host memory, row-major [rows, cols]: outputs by inputs.
typedef struct {
  int32_t dtype;
  int64_t rows, cols;
  const void* data;
} baton_stored;

// x / sqrt(mean(x^2) + epsilon) * gain over each row; gain NULL: no norm.
typedef struct {
  const float* gain;  // [cols], device memory
  float epsilon;
} baton_norm;

// One layer of the paged KV cache. Block b begins at base + b * block_stride_bytes:
//   keys    [kv_heads][head_dim][block_tokens]
//   values  [kv_heads][block_tokens][head_dim], right after the keys
// With latent_dim > 0 there are no values: that of a token is the last latent_dim numbers of its
// key.
typedef struct {
  uint8_t* base;  // device memory
  int64_t block_stride_bytes;
  int32_t blocks, kv_heads, head_dim, block_tokens;
  int32_t dtype;  // BATON_F16, BATON_BF16 or BATON_F32
  int32_t latent_dim;
} baton_paged_kv;

// The rows of a batch that belong to one sequence. Position p is in block_table[p / block_tokens].
typedef struct {
  int32_t row_begin, row_count;
  int64_t position;  // absolute, of the first row
  const int32_t* block_table;
  int32_t block_count;
} baton_sequence;

// BATON_OP_EMBED: out[i] = row ids[i] of table.
typedef struct {
  const baton_weight* table;
  const int32_t* ids;  // [out.rows]
  baton_matrix out;
} baton_embed_args;

// BATON_OP_RMS_NORM; out may be the memory of in.
typedef struct {
  baton_matrix in;
  baton_norm norm;
  baton_matrix out;
} baton_rms_norm_args;

// BATON_OP_LINEAR: for each part out = norm(in) * weight^T + bias, or out += that where accumulate.
typedef struct {
  const baton_weight* weight;
  const float* bias;  // [weight rows], device memory, or NULL
  baton_matrix out;
  int32_t accumulate;
} baton_linear_part;
typedef struct {
  baton_matrix in;
  baton_norm norm;
  const baton_linear_part* parts;
  int32_t part_count;
} baton_linear_args;

// BATON_OP_GATED_LINEAR: out = activation(norm(in) * gate^T) * (norm(in) * up^T).
enum baton_activation { BATON_SILU = 0, BATON_GELU_TANH = 1 };
typedef struct {
  baton_matrix in;
  baton_norm norm;
  const baton_weight *gate, *up;
  int32_t activation;
  baton_matrix out;
} baton_gated_linear_args;

// BATON_OP_ROPE, in place: of each head the first rotary_dim numbers are rotated in pairs, (2i,
// 2i+1) or, half_style, (i, i + rotary_dim/2), by the angle of their position: table row p = cos of
// rotary_dim/2 frequencies, then their sin.
typedef struct {
  baton_matrix x;
  int32_t head_dim, rotary_dim, half_style;
  baton_matrix table;
  const baton_sequence* sequences;
  int32_t sequence_count;
} baton_rope_args;

// BATON_OP_APPEND_KV: writes rows [n, kv_heads * head_dim] to their places, rounded to the cache's
// type.
typedef struct {
  baton_matrix key, value;  // value.data NULL for a latent cache
  baton_paged_kv kv;
  const baton_sequence* sequences;
  int32_t sequence_count;
} baton_append_kv_args;

// BATON_OP_ATTENTION: causal softmax(scale * q k) v over the row's own sequence, itself included;
// query head h reads KV head h / (query_heads / kv_heads). window > 0: only the last `window`
// positions. sinks [query_heads] or NULL: the score of a key without a value.
typedef struct {
  baton_matrix query;
  baton_paged_kv kv;
  const baton_sequence* sequences;
  int32_t sequence_count, query_heads;
  float scale;
  const float* sinks;
  int64_t window;
  baton_matrix out;  // [n, query_heads * value dim]
} baton_attention_args;

// BATON_OP_GATHER_ROWS: out[i] = in[rows[i]].
typedef struct {
  baton_matrix in;
  const int32_t* rows;  // [out.rows]
  baton_matrix out;
} baton_gather_rows_args;

// BATON_OP_HEAD_LINEAR: head h of a matrix begins at column h * step; out head h = in head h *
// weights[h]^T.
typedef struct {
  baton_matrix in;
  int64_t in_step;
  const baton_weight* const* weights;
  int32_t heads;
  baton_matrix out;
  int64_t out_step;
} baton_head_linear_args;

// BATON_OP_COPY_HEADS: copies `cols` numbers a head.
typedef struct {
  baton_matrix in;
  int64_t in_step;
  baton_matrix out;
  int64_t out_step;
  int32_t heads;
  int64_t cols;
} baton_copy_heads_args;

// BATON_OP_EXPERTS: out[r] += sum of weights[r][k] * expert chosen[r][k] of norm(in[r]), in that
// order; an expert is down(join( gate(x), up(x))). clamped 0: silu(g) * u; 1: g at most limit, u
// within +-limit, g * sigmoid(alpha g) * (u + 1).
typedef struct {
  const baton_weight *gate, *up, *down;
  const float *gate_bias, *up_bias, *down_bias;  // device memory, or NULL
} baton_expert;
typedef struct {
  baton_matrix in;
  baton_norm norm;
  const baton_expert* experts;
  int32_t expert_count, experts_per_row;
  const int32_t* chosen;  // [rows * experts_per_row]
  const float* weights;   // likewise
  int32_t clamped;
  float limit, alpha;
  baton_matrix out;  // may be the memory of in
} baton_experts_args;

typedef struct {
  uint32_t abi_version;  // BATON_DEVICE_ABI_VERSION of this header
  uint32_t table_bytes;  // sizeof(baton_device_table) of this header
  const char* name;      // of the chip, e.g. "acme_d1"; letters, digits, _

  // Opens a chip with `threads` host threads to use. On failure returns a status and, in `error`, a
  // sentence.
  int (*open)(int threads, baton_device** device, char* error, size_t error_bytes);
  void (*close)(baton_device* device);
  // One line for banners and logs. Valid until close.
  const char* (*description)(const baton_device* device);
  // What went wrong in the last call that failed. Valid until the next call.
  const char* (*last_error)(const baton_device* device);

  // Whether the chip computes `op` with weights (or a KV cache) of `dtype`; ops without either are
  // asked with BATON_F32. The answer never changes.
  int (*supports)(const baton_device* device, int32_t op, int32_t dtype);

  void* (*allocate)(baton_device* device, size_t bytes);  // NULL: no memory
  void (*release)(baton_device* device, void* data, size_t bytes);
  // Between device memory and host memory or device memory, in either direction.
  int (*copy)(baton_device* device, void* to, const void* from, size_t bytes);

  // Brings a weight of a dtype that some op supports into the chip's form; `stored` is not read
  // afterwards.
  int (*prepare)(baton_device* device, const baton_stored* stored, baton_weight** weight);
  void (*release_weight)(baton_device* device, baton_weight* weight);
  int64_t (*weight_bytes)(const baton_device* device, const baton_weight* weight);

  // Runs an op; `args` is the struct named after it. May return before the op is complete when
  // synchronize is not NULL: ops of one device are carried out in order, like a stream.
  int (*run)(baton_device* device, int32_t op, const void* args);
  // NULL, or waits until every op that was started is complete, and returns what went wrong with
  // any of them.
  int (*synchronize)(baton_device* device);
} baton_device_table;

// The one exported symbol. Returns NULL when `host_abi_version` is not spoken.
const baton_device_table* baton_device_plugin(uint32_t host_abi_version);

#ifdef __cplusplus
}
#endif
