#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/conformance/case_data.h"
#include "device/conformance/case_lists.h"

namespace baton::device {
namespace {

constexpr DType kDTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16,
                             DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};
constexpr float kEpsilon = 1e-5f;
// Chips quantise activations to eight bits in groups of 32 (docs/numerics.md): each product is half
// a percent off. Chips that do not are far below.
constexpr double kLinearLimit = 0.02;
constexpr double kTwoLayersLimit = 0.04;
constexpr double kExactLimit = 1e-6;

struct Sizes {
  int64_t rows, in, out;
};
Sizes SizesOf(bool large) { return large ? Sizes{64, 2048, 2048} : Sizes{7, 96, 37}; }

double WeightBytes(DType dtype, int64_t rows, int64_t cols) {
  return static_cast<double>(rows * RowBytes(dtype, cols));
}

// What all cases here hold: seeded data and memory on one device.
struct WeightCase {
  WeightCase(Device& device, uint64_t seed, DType d, Sizes s)
      : data(seed), memory(device), dtype(d), sizes(s) {}
  absl::StatusOr<const Weight*> Weigh(int64_t rows, int64_t cols) {
    return memory.Weigh(dtype, rows, cols, data.Stored(dtype, rows, cols));
  }
  absl::StatusOr<MatrixView> Random(int64_t rows, int64_t cols) {
    return memory.Matrix(data.Many(rows * cols), cols);
  }
  absl::Status Reset(const MatrixView& m, const std::vector<float>& values, RowRange rows) {
    return memory.device().Copy(m.data, &values[rows.begin * m.cols],
                                rows.count * m.cols * sizeof(float));
  }

  RandomValues data;
  CaseMemory memory;
  const DType dtype;
  const Sizes sizes;
};

struct EmbedCase : WeightCase {
  EmbedCase(Device& device, DType dtype, Sizes s) : WeightCase(device, 1, dtype, s) {}
  absl::Status Init() {
    BATON_ASSIGN_OR_RETURN(table, Weigh(sizes.out, sizes.in));
    for (int64_t i = 0; i < sizes.rows; ++i) ids.push_back(data.Below(sizes.out));
    BATON_ASSIGN_OR_RETURN(out, Random(sizes.rows, sizes.in));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange rows) {
    const MatrixView part = Rows(out, rows);
    BATON_RETURN_IF_ERROR(memory.device().Embed(
        {table, absl::MakeConstSpan(ids).subspan(rows.begin, rows.count), part}));
    return memory.Read(part);
  }
  const Weight* table = nullptr;
  std::vector<int32_t> ids;
  MatrixView out;
};

// Two weights share the input: one with a bias, one that adds to what is there.
struct LinearCase : WeightCase {
  LinearCase(Device& device, DType dtype, Sizes s, bool normed)
      : WeightCase(device, 2, dtype, s), with_norm(normed) {}
  absl::Status Init() {
    BATON_ASSIGN_OR_RETURN(first, Weigh(sizes.out, sizes.in));
    BATON_ASSIGN_OR_RETURN(second, Weigh(sizes.out, sizes.in));
    BATON_ASSIGN_OR_RETURN(bias, memory.Floats(data.Many(sizes.out)));
    BATON_ASSIGN_OR_RETURN(gain, memory.Floats(data.Many(sizes.in)));
    BATON_ASSIGN_OR_RETURN(in, Random(sizes.rows, sizes.in));
    BATON_ASSIGN_OR_RETURN(out, Random(sizes.rows, sizes.out));
    before = data.Many(sizes.rows * sizes.out);
    BATON_ASSIGN_OR_RETURN(sum, memory.Matrix(before, sizes.out));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange rows) {
    const MatrixView plain = Rows(out, rows), added = Rows(sum, {0, rows.count});
    BATON_RETURN_IF_ERROR(Reset(added, before, rows));
    const LinearArgs::Part parts[] = {{first, bias, plain, false}, {second, nullptr, added, true}};
    BATON_RETURN_IF_ERROR(
        memory.device().Linear({Rows(in, rows), {with_norm ? gain : nullptr, kEpsilon}, parts}));
    BATON_ASSIGN_OR_RETURN(const std::vector<float> a, memory.Read(plain));
    BATON_ASSIGN_OR_RETURN(const std::vector<float> b, memory.Read(added));
    std::vector<float> joined;
    for (int64_t r = 0; r < rows.count; ++r) {
      for (const std::vector<float>* part : {&a, &b}) {
        joined.insert(joined.end(), part->begin() + r * sizes.out,
                      part->begin() + (r + 1) * sizes.out);
      }
    }
    return joined;
  }
  const bool with_norm;
  const Weight *first = nullptr, *second = nullptr;
  const float *bias = nullptr, *gain = nullptr;
  MatrixView in, out, sum;
  std::vector<float> before;
};

struct GatedLinearCase : WeightCase {
  GatedLinearCase(Device& device, DType dtype, Sizes s) : WeightCase(device, 3, dtype, s) {}
  absl::Status Init() {
    BATON_ASSIGN_OR_RETURN(gate, Weigh(sizes.out, sizes.in));
    BATON_ASSIGN_OR_RETURN(up, Weigh(sizes.out, sizes.in));
    BATON_ASSIGN_OR_RETURN(gain, memory.Floats(data.Many(sizes.in)));
    BATON_ASSIGN_OR_RETURN(in, Random(sizes.rows, sizes.in));
    BATON_ASSIGN_OR_RETURN(out, Random(sizes.rows, sizes.out));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange rows) {
    const MatrixView part = Rows(out, rows);
    BATON_RETURN_IF_ERROR(memory.device().GatedLinear(
        {.in = Rows(in, rows), .norm = {gain, kEpsilon}, .gate = gate, .up = up, .out = part}));
    return memory.Read(part);
  }
  const Weight *gate = nullptr, *up = nullptr;
  const float* gain = nullptr;
  MatrixView in, out;
};

// Heads lie further apart than they are wide.
struct HeadLinearCase : WeightCase {
  static constexpr int64_t kHeads = 3, kGap = 5;
  HeadLinearCase(Device& device, DType dtype, Sizes s) : WeightCase(device, 4, dtype, s) {}
  absl::Status Init() {
    for (int64_t h = 0; h < kHeads; ++h) {
      BATON_ASSIGN_OR_RETURN(const Weight* weight, Weigh(sizes.out, sizes.in));
      weights.push_back(weight);
    }
    BATON_ASSIGN_OR_RETURN(in, Random(sizes.rows, kHeads * (sizes.in + kGap)));
    BATON_ASSIGN_OR_RETURN(out,
                           memory.Matrix(std::vector<float>(sizes.rows * OutCols()), OutCols()));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange rows) {
    const MatrixView part = Rows(out, rows);
    BATON_RETURN_IF_ERROR(memory.device().HeadLinear(
        {Rows(in, rows), sizes.in + kGap, weights, part, sizes.out + kGap}));
    return memory.Read(part);
  }
  int64_t OutCols() const { return kHeads * (sizes.out + kGap); }
  std::vector<const Weight*> weights;
  MatrixView in, out;
};

struct ExpertsCase : WeightCase {
  static constexpr int64_t kExperts = 5, kPerRow = 2;
  ExpertsCase(Device& device, DType dtype, Sizes s, ExpertActivation a)
      : WeightCase(device, 5, dtype, s), activation(a) {}
  absl::Status Init() {
    for (int64_t e = 0; e < kExperts; ++e) {
      Expert expert;
      BATON_ASSIGN_OR_RETURN(expert.gate, Weigh(sizes.in, sizes.in));
      BATON_ASSIGN_OR_RETURN(expert.up, Weigh(sizes.in, sizes.in));
      BATON_ASSIGN_OR_RETURN(expert.down, Weigh(sizes.out, sizes.in));
      BATON_ASSIGN_OR_RETURN(expert.gate_bias, memory.Floats(data.Many(sizes.in)));
      BATON_ASSIGN_OR_RETURN(expert.down_bias, memory.Floats(data.Many(sizes.out)));
      experts.push_back(expert);
    }
    BATON_ASSIGN_OR_RETURN(in, Random(sizes.rows, sizes.in));
    before = data.Many(sizes.rows * sizes.out);
    BATON_ASSIGN_OR_RETURN(out, memory.Matrix(before, sizes.out));
    for (int64_t r = 0; r < sizes.rows; ++r) {
      const int32_t top = data.Below(kExperts);
      chosen.insert(chosen.end(), {top, (top + 1) % static_cast<int32_t>(kExperts)});
      weights.insert(weights.end(), {0.75f, 0.25f});
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange rows) {
    const MatrixView part = Rows(out, {0, rows.count});
    BATON_RETURN_IF_ERROR(Reset(part, before, rows));
    const auto some = [&](const auto& all) {
      return absl::MakeConstSpan(all).subspan(rows.begin * kPerRow, rows.count * kPerRow);
    };
    BATON_RETURN_IF_ERROR(memory.device().Experts({.in = Rows(in, rows),
                                                   .experts = experts,
                                                   .experts_per_row = kPerRow,
                                                   .chosen = some(chosen),
                                                   .weights = some(weights),
                                                   .activation = activation,
                                                   .limit = 7.0f,
                                                   .alpha = 1.702f,
                                                   .out = part}));
    return memory.Read(part);
  }
  const ExpertActivation activation;
  std::vector<Expert> experts;
  std::vector<int32_t> chosen;
  std::vector<float> weights, before;
  MatrixView in, out;
};

}  // namespace

std::vector<OpCase> WeightOpCases(bool large) {
  const Sizes s = SizesOf(large);
  const double cells = static_cast<double>(s.rows * s.in * s.out);
  const double row_bytes = 4.0 * static_cast<double>(s.rows * (s.in + s.out));
  std::vector<OpCase> cases;
  for (const DType dtype : kDTypes) {
    const std::string name(DTypeName(dtype));
    const double weight = WeightBytes(dtype, s.out, s.in);
    cases.push_back({"embed", name, s.rows, kExactLimit, 0, static_cast<double>(s.rows * s.in * 8),
                     CaseOf<EmbedCase>(dtype, s)});
    for (const bool norm : {false, true}) {
      cases.push_back({"linear", absl::StrCat(name, norm ? ", norm" : ""), s.rows, kLinearLimit,
                       4 * cells, 2 * weight + 2 * row_bytes, CaseOf<LinearCase>(dtype, s, norm)});
    }
    cases.push_back({"gated_linear", name, s.rows, kTwoLayersLimit, 4 * cells,
                     2 * weight + row_bytes, CaseOf<GatedLinearCase>(dtype, s)});
    cases.push_back({"head_linear", name, s.rows, kLinearLimit, 6 * cells,
                     3 * weight + 3 * row_bytes, CaseOf<HeadLinearCase>(dtype, s)});
    const Sizes e = large ? Sizes{s.rows, 512, 512} : s;
    const double expert_cells = 2.0 * static_cast<double>(2 * e.rows * e.in * (2 * e.in + e.out));
    cases.push_back({"experts", absl::StrCat(name, ", silu"), e.rows, kTwoLayersLimit, expert_cells,
                     row_bytes, CaseOf<ExpertsCase>(dtype, e, ExpertActivation::kSilu)});
    cases.push_back({"experts", absl::StrCat(name, ", clamped"), e.rows, kTwoLayersLimit,
                     expert_cells, row_bytes,
                     CaseOf<ExpertsCase>(dtype, e, ExpertActivation::kClampedSwiglu)});
  }
  return cases;
}

}  // namespace baton::device
