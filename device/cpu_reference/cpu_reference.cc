#include "device/cpu_reference/cpu_reference.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "device/cpu_reference/dequantize.h"
#include "device/host_memory.h"

namespace baton::device {
namespace {

using RowMajorF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowMajorD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::OuterStride<>;
using ConstMap = Eigen::Map<const RowMajorF, 0, Strided>;
using MutableMap = Eigen::Map<RowMajorF, 0, Strided>;

ConstMap Map(const ConstMatrixView& m) {
  return ConstMap(m.data, m.rows, m.cols, Strided(m.stride));
}
MutableMap Map(const MatrixView& m) {
  return MutableMap(m.data, m.rows, m.cols, Strided(m.stride));
}

class DenseWeight final : public Weight {
 public:
  explicit DenseWeight(const StoredTensor& stored)
      : Weight(stored.dtype, stored.rows, stored.cols,
               stored.rows * stored.cols * int64_t{sizeof(float)}),
        values_(Dequantize(stored)) {}
  ConstMap values() const { return ConstMap(values_.data(), rows(), cols(), Strided(cols())); }

 private:
  std::vector<float> values_;
};

ConstMap ValuesOf(const Weight* weight) {
  return static_cast<const DenseWeight*>(weight)->values();
}

// The input in double, normed where the op folds a norm in.
RowMajorD Input(const ConstMatrixView& in, const Norm& norm) {
  RowMajorD x = Map(in).cast<double>();
  if (norm.gain == nullptr) return x;
  const Eigen::Map<const Eigen::RowVectorXf> gain(norm.gain, in.cols);
  for (int64_t r = 0; r < x.rows(); ++r) {
    const double mean_square = x.row(r).squaredNorm() / static_cast<double>(in.cols);
    x.row(r) *= 1.0 / std::sqrt(mean_square + norm.epsilon);
    x.row(r).array() *= gain.cast<double>().array();
  }
  return x;
}

// x * weight^T, a slab of weight rows at a time so that their copy in double stays small.
RowMajorD TimesTransposed(const RowMajorD& x, const Weight* weight) {
  constexpr int64_t kSlab = 256;
  const ConstMap w = ValuesOf(weight);
  RowMajorD y(x.rows(), w.rows());
  for (int64_t begin = 0; begin < w.rows(); begin += kSlab) {
    const int64_t count = std::min(kSlab, w.rows() - begin);
    const RowMajorD slab = w.middleRows(begin, count).cast<double>();
    y.middleCols(begin, count).noalias() = x * slab.transpose();
  }
  return y;
}

// Element `index` of keys or values in the dtype of the cache.
double LoadKv(const uint8_t* base, int64_t index, DType dtype) {
  if (dtype == DType::kF32) return reinterpret_cast<const float*>(base)[index];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(base)[index];
  return dtype == DType::kF16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
}

// Nearest, ties to even; magnitudes below 2^-50 to zero, as the caches of the chips.
uint16_t ToBFloat16(float value) {
  if (!(std::fabs(value) >= 0x1p-50f)) return 0;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void StoreKv(uint8_t* base, int64_t index, DType dtype, float value) {
  if (dtype == DType::kF32) {
    reinterpret_cast<float*>(base)[index] = value;
  } else {
    reinterpret_cast<uint16_t*>(base)[index] =
        dtype == DType::kF16 ? FloatToHalf(value) : ToBFloat16(value);
  }
}

// Where token `position` of a sequence lies: block and slot within it.
struct Slot {
  int32_t block;
  int32_t token;
};
Slot SlotOf(const SequenceRows& s, int64_t position, const KvGeometry& g) {
  return {s.block_table[position / g.block_tokens],
          static_cast<int32_t>(position % g.block_tokens)};
}
int64_t KeyIndex(const KvGeometry& g, int32_t head, int32_t dim, int32_t token) {
  return (int64_t{head} * g.head_dim + dim) * g.block_tokens + token;
}
int64_t ValueIndex(const KvGeometry& g, int32_t head, int32_t token, int32_t dim) {
  return (int64_t{head} * g.block_tokens + token) * g.head_dim + dim;
}

// One query head of one row over the tokens up to `position` that its window holds.
void AttendOne(const AttentionArgs& args, const SequenceRows& s, int64_t position,
               const float* query, int32_t kv_head, const float* sink, float* out) {
  const KvGeometry& g = args.kv.geometry;
  const int64_t first = args.window == 0 ? 0 : std::max<int64_t>(position + 1 - args.window, 0);
  std::vector<double> weights(static_cast<size_t>(position + 1 - first));
  double highest = -std::numeric_limits<double>::infinity();
  for (int64_t t = first; t <= position; ++t) {
    const Slot slot = SlotOf(s, t, g);
    double score = 0;
    for (int32_t d = 0; d < g.head_dim; ++d) {
      score += double{query[d]} *
               LoadKv(args.kv.keys(slot.block), KeyIndex(g, kv_head, d, slot.token), g.dtype);
    }
    weights[t - first] = score * args.scale;
    highest = std::max(highest, weights[t - first]);
  }
  double sum = 0;
  for (double& w : weights) sum += (w = std::exp(w - highest));
  if (sink != nullptr) sum += std::exp(*sink - highest);
  const int32_t dims = g.value_dim();
  std::vector<double> mixed(dims, 0.0);
  for (int64_t t = first; t <= position; ++t) {
    const Slot slot = SlotOf(s, t, g);
    for (int32_t d = 0; d < dims; ++d) {
      const double value =
          g.latent_dim > 0
              ? LoadKv(args.kv.keys(slot.block),
                       KeyIndex(g, kv_head, g.head_dim - dims + d, slot.token), g.dtype)
              : LoadKv(args.kv.values(slot.block), ValueIndex(g, kv_head, slot.token, d), g.dtype);
      mixed[d] += weights[t - first] * value;
    }
  }
  for (int32_t d = 0; d < dims; ++d) out[d] = static_cast<float>(mixed[d] / sum);
}

void AddBias(const float* bias, RowMajorD& y) {
  if (bias == nullptr) return;
  const Eigen::Map<const Eigen::RowVectorXf> row(bias, y.cols());
  y.rowwise() += row.cast<double>();
}

Eigen::ArrayXXd ActivatedGate(Activation activation, const Eigen::ArrayXXd& gate) {
  if (activation == Activation::kSilu) return gate / (1.0 + (-gate).exp());
  const double factor = std::sqrt(2 / std::acos(-1.0));
  return gate / 2 * (1.0 + (factor * (gate + 0.044715 * gate.cube())).tanh());
}

RowMajorD Activated(const ExpertsArgs& args, const RowMajorD& gate, const RowMajorD& up) {
  Eigen::ArrayXXd g = gate.array(), u = up.array();
  if (args.activation == ExpertActivation::kSilu) return (g / (1.0 + (-g).exp()) * u).matrix();
  const double limit = args.limit, alpha = args.alpha;
  g = g.min(limit);
  u = u.max(-limit).min(limit);
  return (g / (1.0 + (-alpha * g).exp()) * (u + 1.0)).matrix();
}

class CpuReference final : public Device {
 public:
  absl::string_view name() const override { return "cpu"; }
  std::string description() const override { return "cpu: reference, double precision, 1 thread"; }

 protected:
  absl::StatusOr<Buffer> DoAllocate(size_t bytes) override { return AllocateHost(bytes); }

  absl::StatusOr<std::unique_ptr<Weight>> DoPrepare(const StoredTensor& stored) override {
    return std::unique_ptr<Weight>(new DenseWeight(stored));
  }

  void DoEmbed(const EmbedArgs& args) override {
    for (size_t i = 0; i < args.ids.size(); ++i) {
      Map(args.out).row(static_cast<int64_t>(i)) =
          ValuesOf(args.table).row(args.ids[i]) * args.scale;
    }
  }

  void DoRmsNorm(const RmsNormArgs& args) override {
    RowMajorD y = Input(args.in, args.norm);
    if (args.accumulate) y += Map(args.out).cast<double>();
    Map(args.out) = y.cast<float>();
  }

  void DoLinear(const LinearArgs& args) override {
    const RowMajorD x = Input(args.in, args.norm);
    for (const LinearArgs::Part& part : args.parts) {
      RowMajorD y = TimesTransposed(x, part.weight);
      if (part.bias != nullptr) {
        const Eigen::Map<const Eigen::RowVectorXf> bias(part.bias, part.weight->rows());
        y.rowwise() += bias.cast<double>();
      }
      if (part.accumulate) y += Map(part.out).cast<double>();
      Map(part.out) = y.cast<float>();
    }
  }

  void DoGatedLinear(const GatedLinearArgs& args) override {
    const RowMajorD x = Input(args.in, args.norm);
    const Eigen::ArrayXXd gate = TimesTransposed(x, args.gate).array();
    const Eigen::ArrayXXd up = TimesTransposed(x, args.up).array();
    Map(args.out) = (ActivatedGate(args.activation, gate) * up).matrix().cast<float>();
  }

  void DoRope(const RopeArgs& args) override {
    const int32_t half = args.rotary_dim / 2;
    const bool interleaved = args.style == RopeStyle::kInterleaved;
    for (const SequenceRows& s : args.sequences) {
      for (int32_t r = 0; r < s.row_count; ++r) {
        const float* cosines = args.table.row(s.position + r);
        const float* sines = cosines + half;
        float* row = args.x.row(s.row_begin + r);
        for (float* head = row; head < row + args.x.cols; head += args.head_dim) {
          for (int32_t i = 0; i < half; ++i) {
            float& a = head[interleaved ? 2 * i : i];
            float& b = head[interleaved ? 2 * i + 1 : i + half];
            const double rotated = double{a} * cosines[i] - double{b} * sines[i];
            b = static_cast<float>(double{a} * sines[i] + double{b} * cosines[i]);
            a = static_cast<float>(rotated);
          }
        }
      }
    }
  }

  void DoAppendKv(const AppendKvArgs& args) override {
    const KvGeometry& g = args.kv.geometry;
    for (const SequenceRows& s : args.sequences) {
      for (int32_t r = 0; r < s.row_count; ++r) {
        const Slot slot = SlotOf(s, s.position + r, g);
        const float* key = args.key.row(s.row_begin + r);
        const float* value = g.latent_dim > 0 ? nullptr : args.value.row(s.row_begin + r);
        for (int32_t head = 0; head < g.kv_heads; ++head) {
          for (int32_t d = 0; d < g.head_dim; ++d) {
            StoreKv(args.kv.keys(slot.block), KeyIndex(g, head, d, slot.token), g.dtype,
                    key[head * g.head_dim + d]);
            if (g.latent_dim > 0) continue;
            StoreKv(args.kv.values(slot.block), ValueIndex(g, head, slot.token, d), g.dtype,
                    value[head * g.head_dim + d]);
          }
        }
      }
    }
  }

  void DoAttention(const AttentionArgs& args) override {
    const KvGeometry& g = args.kv.geometry;
    const int32_t group = args.query_heads / g.kv_heads;
    for (const SequenceRows& s : args.sequences) {
      for (int32_t r = 0; r < s.row_count; ++r) {
        for (int32_t head = 0; head < args.query_heads; ++head) {
          AttendOne(args, s, s.position + r, args.query.row(s.row_begin + r) + head * g.head_dim,
                    head / group, args.sinks == nullptr ? nullptr : args.sinks + head,
                    args.out.row(s.row_begin + r) + head * g.value_dim());
        }
      }
    }
  }

  void DoHeadLinear(const HeadLinearArgs& args) override {
    for (size_t h = 0; h < args.weights.size(); ++h) {
      const Weight* weight = args.weights[h];
      const int64_t head = static_cast<int64_t>(h);
      const ConstMatrixView in{args.in.data + head * args.in_step, args.in.rows, weight->cols(),
                               args.in.stride};
      Map(MatrixView{args.out.data + head * args.out_step, args.out.rows, weight->rows(),
                     args.out.stride}) = TimesTransposed(Input(in, {}), weight).cast<float>();
    }
  }

  void DoCopyHeads(const CopyHeadsArgs& args) override {
    for (int64_t head = 0; head < args.heads; ++head) {
      Map(args.out).middleCols(head * args.out_step, args.cols) =
          Map(args.in).middleCols(head * args.in_step, args.cols);
    }
  }

  void DoExperts(const ExpertsArgs& args) override {
    const RowMajorD x = Input(args.in, args.norm);
    RowMajorD sum = Map(args.out).cast<double>();
    for (int64_t r = 0; r < args.in.rows; ++r) {
      for (int64_t i = r * args.experts_per_row; i < (r + 1) * args.experts_per_row; ++i) {
        const Expert& expert = args.experts[args.chosen[i]];
        RowMajorD gate = TimesTransposed(x.row(r), expert.gate);
        RowMajorD up = TimesTransposed(x.row(r), expert.up);
        AddBias(expert.gate_bias, gate);
        AddBias(expert.up_bias, up);
        RowMajorD down = TimesTransposed(Activated(args, gate, up), expert.down);
        AddBias(expert.down_bias, down);
        sum.row(r) += double{args.weights[i]} * down;
      }
    }
    Map(args.out) = sum.cast<float>();
  }

  void DoGatherRows(const GatherRowsArgs& args) override {
    for (size_t i = 0; i < args.rows.size(); ++i) {
      Map(args.out).row(static_cast<int64_t>(i)) = Map(args.in).row(args.rows[i]);
    }
  }
};

}  // namespace

std::unique_ptr<Device> MakeCpuReference() { return std::make_unique<CpuReference>(); }

}  // namespace baton::device
