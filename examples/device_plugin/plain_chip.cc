// A complete device plugin, as small as one can be: a "chip" that computes in float32 with plain
// loops. Start a port from here: replace one op after the other with your silicon's and keep `baton
// doctor` green.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "baton_device.h"

struct baton_device {
  std::string description, error;
};

struct baton_weight {
  int64_t rows, cols;
  std::vector<float> values;
  const float* row(int64_t r) const { return values.data() + r * cols; }
};

namespace {

float FromHalf(uint16_t h) {
  const int exponent = (h >> 10) & 31, fraction = (h & 1023) + (exponent > 0 ? 1024 : 0);
  const float size = exponent == 31 ? (fraction > 1024 ? NAN : INFINITY)
                                    : std::ldexp(float(fraction), std::max(exponent, 1) - 25);
  return h >> 15 ? -size : size;
}

// To nearest, ties to even.
uint16_t ToHalf(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return 0x7e00;
  if (std::fabs(value) >= 65520.0f) return sign | 0x7c00;
  const int exponent = value == 0 ? -14 : std::max(std::ilogb(value), -14);
  return sign + ((exponent + 14) << 10) +
         int(std::nearbyint(std::ldexp(std::fabs(value), 10 - exponent)));
}

uint16_t Read16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, 2);
  return value;
}

// One row of a stored weight to float32.
void Dequantize(int32_t dtype, const uint8_t* in, int64_t cols, float* out) {
  if (dtype == BATON_F32) {
    std::memcpy(out, in, cols * sizeof(float));
  } else if (dtype == BATON_F16) {
    for (int64_t i = 0; i < cols; ++i) out[i] = FromHalf(Read16(in + 2 * i));
  } else if (dtype == BATON_BF16) {
    for (int64_t i = 0; i < cols; ++i) {
      const uint32_t bits = uint32_t{Read16(in + 2 * i)} << 16;
      std::memcpy(out + i, &bits, 4);
    }
  } else {
    const bool bytes = dtype == BATON_Q8_0;
    const int head = dtype == BATON_Q4_1 ? 4 : 2;
    for (int64_t b = 0; b < cols / 32; ++b, in += head + (bytes ? 32 : 16)) {
      const float d = FromHalf(Read16(in));
      float m = dtype == BATON_Q4_0 ? -8 * d : 0;
      if (dtype == BATON_Q4_1) m = FromHalf(Read16(in + 2));
      for (int i = 0; i < 32; ++i) {
        const uint8_t byte = in[head + (bytes ? i : i % 16)];
        const int q = bytes ? static_cast<int8_t>(byte) : i < 16 ? byte & 15 : byte >> 4;
        out[b * 32 + i] = d * static_cast<float>(q) + m;
      }
    }
  }
}

float* Row(const baton_matrix& m, int64_t r) { return m.data + r * m.stride; }

float Dot(const float* a, const float* b, int64_t n) {
  float lanes[8] = {};  // a fixed order, whatever the batch: the same bits every time
  for (int64_t i = 0; i + 8 <= n; i += 8) {
    for (int l = 0; l < 8; ++l) lanes[l] += a[i + l] * b[i + l];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (int64_t i = n / 8 * 8; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// One row with the norm that the op folds in.
std::vector<float> Normed(const baton_matrix& in, int64_t r, const baton_norm& norm) {
  std::vector<float> x(Row(in, r), Row(in, r) + in.cols);
  if (norm.gain == nullptr) return x;
  const float mean = Dot(x.data(), x.data(), in.cols) / static_cast<float>(in.cols);
  const float factor = 1.0f / std::sqrt(mean + norm.epsilon);
  for (int64_t c = 0; c < in.cols; ++c) x[c] *= factor * norm.gain[c];
  return x;
}

float Activate(int32_t activation, float x) {
  if (activation == BATON_SILU) return x / (1.0f + std::exp(-x));
  return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
}

void Embed(const baton_embed_args& a) {
  for (int64_t r = 0; r < a.out.rows; ++r)
    std::memcpy(Row(a.out, r), a.table->row(a.ids[r]), a.out.cols * sizeof(float));
}

void Linear(const baton_linear_args& a) {
  for (int64_t r = 0; r < a.in.rows; ++r) {
    const std::vector<float> x = Normed(a.in, r, a.norm);
    for (int p = 0; p < a.part_count; ++p) {
      const baton_linear_part& part = a.parts[p];
      for (int64_t o = 0; o < part.weight->rows; ++o) {
        const float y = Dot(x.data(), part.weight->row(o), a.in.cols) +
                        (part.bias != nullptr ? part.bias[o] : 0);
        float& out = Row(part.out, r)[o];
        out = part.accumulate != 0 ? out + y : y;
      }
    }
  }
}

void GatedLinear(const baton_gated_linear_args& a) {
  for (int64_t r = 0; r < a.in.rows; ++r) {
    const std::vector<float> x = Normed(a.in, r, a.norm);
    for (int64_t o = 0; o < a.gate->rows; ++o) {
      const float g = Dot(x.data(), a.gate->row(o), a.in.cols),
                  u = Dot(x.data(), a.up->row(o), a.in.cols);
      Row(a.out, r)[o] = Activate(a.activation, g) * u;
    }
  }
}

void Rope(const baton_rope_args& a) {
  const int half = a.rotary_dim / 2;
  for (int s = 0; s < a.sequence_count; ++s) {
    for (int i = 0; i < a.sequences[s].row_count; ++i) {
      const float* angle = Row(a.table, a.sequences[s].position + i);
      float* row = Row(a.x, a.sequences[s].row_begin + i);
      for (int64_t head = 0; head < a.x.cols; head += a.head_dim) {
        for (int k = 0; k < half; ++k) {
          float& x = row[head + (a.half_style != 0 ? k : 2 * k)];
          float& y = row[head + (a.half_style != 0 ? k + half : 2 * k + 1)];
          const float x0 = x, y0 = y;
          x = x0 * angle[k] - y0 * angle[half + k];
          y = x0 * angle[half + k] + y0 * angle[k];
        }
      }
    }
  }
}

// Where the cache keeps element d of a head's key or value at a position, in half precision.
struct KvPlace {
  const baton_paged_kv& kv;
  const baton_sequence& sequence;
  uint16_t& Key(int64_t position, int head, int d) const {
    return At(position,
              (int64_t{head} * kv.head_dim + d) * kv.block_tokens + position % kv.block_tokens);
  }
  uint16_t& Value(int64_t position, int head, int d) const {
    if (kv.latent_dim > 0) return Key(position, head, kv.head_dim - kv.latent_dim + d);
    const int64_t row = int64_t{head} * kv.block_tokens + position % kv.block_tokens;
    return At(position,
              int64_t{kv.kv_heads} * kv.head_dim * kv.block_tokens + row * kv.head_dim + d);
  }
  uint16_t& At(int64_t position, int64_t element) const {
    const int64_t block = sequence.block_table[position / kv.block_tokens];
    return reinterpret_cast<uint16_t*>(kv.base + block * kv.block_stride_bytes)[element];
  }
};

void AppendKv(const baton_append_kv_args& a) {
  for (int s = 0; s < a.sequence_count; ++s) {
    const KvPlace place{a.kv, a.sequences[s]};
    for (int i = 0; i < a.sequences[s].row_count; ++i) {
      const int64_t row = a.sequences[s].row_begin + i, position = a.sequences[s].position + i;
      for (int h = 0; h < a.kv.kv_heads; ++h) {
        for (int d = 0; d < a.kv.head_dim; ++d) {
          const int64_t column = int64_t{h} * a.kv.head_dim + d;
          place.Key(position, h, d) = ToHalf(Row(a.key, row)[column]);
          if (a.value.data != nullptr)
            place.Value(position, h, d) = ToHalf(Row(a.value, row)[column]);
        }
      }
    }
  }
}

void AttendRow(const baton_attention_args& a, const KvPlace& place, int64_t row, int64_t position) {
  const int group = a.query_heads / a.kv.kv_heads, dim = a.kv.head_dim;
  const int value_dim = a.kv.latent_dim > 0 ? a.kv.latent_dim : dim;
  const int64_t first = a.window > 0 ? std::max<int64_t>(0, position + 1 - a.window) : 0;
  for (int q = 0; q < a.query_heads; ++q) {
    std::vector<float> scores;
    float top = a.sinks != nullptr ? a.sinks[q] : -INFINITY;
    for (int64_t p = first; p <= position; ++p) {
      float score = 0;
      for (int d = 0; d < dim; ++d)
        score += Row(a.query, row)[q * dim + d] * FromHalf(place.Key(p, q / group, d));
      scores.push_back(score * a.scale);
      top = std::max(top, scores.back());
    }
    float sum = a.sinks != nullptr ? std::exp(a.sinks[q] - top) : 0;
    float* out = Row(a.out, row) + q * value_dim;
    std::fill(out, out + value_dim, 0.0f);
    for (int64_t p = first; p <= position; ++p) {
      const float weight = std::exp(scores[p - first] - top);
      sum += weight;
      for (int d = 0; d < value_dim; ++d) out[d] += weight * FromHalf(place.Value(p, q / group, d));
    }
    for (int d = 0; d < value_dim; ++d) out[d] /= sum;
  }
}

void Attention(const baton_attention_args& a) {
  for (int s = 0; s < a.sequence_count; ++s) {
    const baton_sequence& sequence = a.sequences[s];
    for (int i = 0; i < sequence.row_count; ++i)
      AttendRow(a, {a.kv, sequence}, sequence.row_begin + i, sequence.position + i);
  }
}

template <typename Args>
int Do(void (*op)(const Args&), const void* args) {
  op(*static_cast<const Args*>(args));
  return BATON_OK;
}

int Run(baton_device* device, int32_t op, const void* args) {
  if (op == BATON_OP_EMBED) return Do(Embed, args);
  if (op == BATON_OP_LINEAR) return Do(Linear, args);
  if (op == BATON_OP_GATED_LINEAR) return Do(GatedLinear, args);
  if (op == BATON_OP_ROPE) return Do(Rope, args);
  if (op == BATON_OP_APPEND_KV) return Do(AppendKv, args);
  if (op == BATON_OP_ATTENTION) return Do(Attention, args);
  device->error = "no such op: " + std::to_string(op);
  return BATON_FAILED;
}

// What costs dense models most. The rest is the host's to compute, as for any chip that lacks ops.
int Supports(const baton_device*, int32_t op, int32_t dtype) {
  if (op == BATON_OP_RMS_NORM || op > BATON_OP_ATTENTION) return 0;
  if (op == BATON_OP_APPEND_KV || op == BATON_OP_ATTENTION) return dtype == BATON_F16;
  return dtype >= BATON_F32 && dtype <= BATON_Q4_1 && dtype != 3;
}

int Open(int, baton_device** device, char*, size_t) {
  *device = new baton_device{"plain loops in float32, one thread", ""};
  return BATON_OK;
}

int Prepare(baton_device*, const baton_stored* stored, baton_weight** weight) {
  static constexpr int kBlockBytes[] = {4, 2, 2, 0, 34, 18, 20};  // quantised blocks hold 32
  const int64_t row_bytes =
      stored->cols / (stored->dtype >= BATON_Q8_0 ? 32 : 1) * kBlockBytes[stored->dtype];
  *weight =
      new baton_weight{stored->rows, stored->cols, std::vector<float>(stored->rows * stored->cols)};
  for (int64_t r = 0; r < stored->rows; ++r) {
    Dequantize(stored->dtype, static_cast<const uint8_t*>(stored->data) + r * row_bytes,
               stored->cols, (*weight)->values.data() + r * stored->cols);
  }
  return BATON_OK;
}

void* Allocate(baton_device*, size_t bytes) {
  void* data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  return data == nullptr ? nullptr : std::memset(data, 0, bytes);
}

const baton_device_table kTable = {
    .abi_version = BATON_DEVICE_ABI_VERSION,
    .table_bytes = sizeof(baton_device_table),
    .name = "plain",
    .open = Open,
    .close = [](baton_device* device) { delete device; },
    .description = [](const baton_device* device) { return device->description.c_str(); },
    .last_error = [](const baton_device* device) { return device->error.c_str(); },
    .supports = Supports,
    .allocate = Allocate,
    .release = [](baton_device*, void* data, size_t) { std::free(data); },
    .copy = [](baton_device*, void* to, const void* from,
               size_t bytes) { return std::memcpy(to, from, bytes), int{BATON_OK}; },
    .prepare = Prepare,
    .release_weight = [](baton_device*, baton_weight* weight) { delete weight; },
    .weight_bytes =
        [](const baton_device*, const baton_weight* w) {
          return static_cast<int64_t>(w->values.size() * 4);
        },
    .run = Run,
    .synchronize = nullptr,
};

}  // namespace

extern "C" const baton_device_table* baton_device_plugin(uint32_t host_abi_version) {
  return host_abi_version == BATON_DEVICE_ABI_VERSION ? &kTable : nullptr;
}
