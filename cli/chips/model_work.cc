#include "cli/chips/model_work.h"

#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::cli {
namespace {

using device::Arithmetic;
using device::OpWork;

constexpr int64_t kAbsorbedNewTokensMax = 171;
constexpr double kActivationBytes = 2;  // bf16 between ops
constexpr double kScoreBytes = 2;       // bf16 arithmetic in attention

// Builds ops for one of `chips` chips.
struct Builder {
  const ModelShape& model;
  const StepShape& step;
  double rows;  // tokens of the step
  double chips;
  Arithmetic arithmetic;
  std::vector<OpWork> ops;

  void Linear(const char* name, double weights, double out_cols, double repeats, double r) {
    ops.push_back({.name = name,
                   .arithmetic = arithmetic,
                   .flops = 2 * r * weights / chips,
                   .weight_bytes = weights * model.weight_bytes / chips,
                   .activation_bytes = r * (static_cast<double>(model.hidden) + out_cols / chips) *
                                       kActivationBytes,
                   .link_bytes = r * static_cast<double>(model.hidden) * kActivationBytes,
                   .repeats = repeats});
  }
  void AllReduce(const char* name, double repeats) {
    if (step.chips < 2) return;
    ops.push_back({.name = name,
                   .arithmetic = Arithmetic::kBf16,
                   .link_bytes = 2 * (chips - 1) / chips * rows *
                                 static_cast<double>(model.hidden) * kActivationBytes,
                   .between_chips = true,
                   .repeats = repeats});
  }
  void Attention();
  void Experts();
};

void Builder::Attention() {
  const double layers = static_cast<double>(model.layers), heads = static_cast<double>(model.heads);
  Linear("attention: projections", static_cast<double>(model.AttentionWeights()),
         heads * static_cast<double>(model.head_dim), layers, rows);
  const double keys = static_cast<double>(step.context) + (step.new_tokens + 1) / 2.0;
  double pair_flops = 4 * static_cast<double>(model.head_dim);
  double expand_flops = 0;
  if (model.kv_rank > 0) {
    const bool absorbed = step.new_tokens < kAbsorbedNewTokensMax;
    pair_flops = absorbed ? 2.0 * (2 * model.kv_rank + model.rope_dim)
                          : 2.0 * (model.nope_dim + model.rope_dim + model.value_dim);
    if (!absorbed) {
      expand_flops = 2.0 * static_cast<double>(step.sequences) * keys * heads *
                     static_cast<double>(model.kv_rank * (model.nope_dim + model.value_dim));
    }
  }
  const double cached = static_cast<double>(step.sequences) *
                        static_cast<double>(step.context + step.new_tokens) *
                        static_cast<double>(model.CachedNumbers()) * step.kv_bytes;
  // A latent cache has one head: every chip reads all of it.
  const double kv_share = model.kv_rank > 0 ? 1 : std::min(chips, double(model.kv_heads));
  ops.push_back({.name = "attention: keys and values",
                 .arithmetic = Arithmetic::kBf16,
                 .flops = (rows * keys * heads * pair_flops + expand_flops) / chips,
                 .kv_bytes = cached / kv_share,
                 .activation_bytes =
                     rows * heads / chips * static_cast<double>(model.head_dim) * 2 * kScoreBytes,
                 .repeats = layers});
  AllReduce("attention: sum over chips", layers);
}

void Builder::Experts() {
  const double moe = static_cast<double>(model.moe_layers());
  const double dense = static_cast<double>(model.layers) - moe;
  if (dense > 0) {
    Linear("feed-forward", static_cast<double>(model.DenseWeights()),
           2 * static_cast<double>(model.intermediate), dense, rows);
  }
  if (moe > 0) {
    const double experts = static_cast<double>(model.experts);
    const double each = static_cast<double>(model.ExpertWeights());
    const double per_token = static_cast<double>(model.experts_per_token);
    Linear("experts: routing", experts * static_cast<double>(model.hidden), experts, moe, rows);
    // Expected number of distinct experts that the rows choose, were each choice uniform.
    const double touched = experts * (1 - std::pow(1 - per_token / experts, rows));
    const double shared = static_cast<double>(model.shared_experts);
    ops.push_back({.name = "experts",
                   .arithmetic = arithmetic,
                   .flops = 2 * rows * (per_token + shared) * each / chips,
                   .weight_bytes = (touched + shared) * each * model.weight_bytes / chips,
                   .activation_bytes = rows * (per_token + shared) / chips * 2 *
                                       static_cast<double>(model.hidden) * kActivationBytes,
                   .link_bytes = rows * static_cast<double>(model.hidden) * kActivationBytes,
                   .repeats = moe});
  }
  AllReduce("feed-forward: sum over chips", static_cast<double>(model.layers));
}

// Of one chip.
double ResidentBytes(const ModelShape& model, const StepShape& step) {
  const double chips = step.chips;
  const double weights = static_cast<double>(model.Weights()) * model.weight_bytes / chips;
  const double kv_share = model.kv_rank > 0 ? 1 : std::min(chips, double(model.kv_heads));
  return weights +
         static_cast<double>(step.sequences) * static_cast<double>(step.context + step.new_tokens) *
             static_cast<double>(model.CachedNumbers() * model.layers) * step.kv_bytes / kv_share;
}

}  // namespace

std::vector<OpWork> StepWork(const ModelShape& model, const StepShape& step) {
  const double rows = static_cast<double>(step.sequences * step.new_tokens);
  const Arithmetic arithmetic = model.weight_bytes <= 1 ? Arithmetic::kInt8 : Arithmetic::kBf16;
  Builder builder{model, step, rows, static_cast<double>(step.chips), arithmetic, {}};
  builder.Attention();
  builder.Experts();
  builder.Linear("output", static_cast<double>(model.vocab * model.hidden),
                 static_cast<double>(model.vocab), 1, static_cast<double>(step.sequences));
  return std::move(builder.ops);
}

absl::StatusOr<StepCost> CostOfStep(const device::ChipSpec& chip, const ModelShape& model,
                                    const StepShape& step) {
  StepCost cost;
  cost.chip_bytes = ResidentBytes(model, step);
  cost.level = device::LevelFor(chip, cost.chip_bytes);
  if (cost.level == nullptr) {
    const device::MemoryLevel& largest = chip.memory.back();
    return absl::ResourceExhaustedError(
        absl::StrCat("one of ", step.chips, " chips needs ", cost.chip_bytes / 1e9, " GB, ",
                     chip.name, " has ", largest.capacity_bytes / 1e9, " GB (", largest.name,
                     "): needs at least ", ChipsNeeded(chip, model, step), " chips"));
  }
  std::map<device::Bound, double> by_bound;
  for (OpWork& work : StepWork(model, step)) {
    BATON_ASSIGN_OR_RETURN(const device::OpCost op, device::Cost(chip, *cost.level, work));
    cost.seconds += op.seconds;
    cost.joules += op.joules * step.chips;
    by_bound[op.bound] += op.seconds;
    cost.ops.emplace_back(std::move(work), op);
  }
  double most = 0;
  for (const auto& [bound, seconds] : by_bound) {
    if (seconds > most) cost.bound = bound;
    most = std::max(most, seconds);
  }
  return cost;
}

int ChipsNeeded(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step) {
  constexpr int kSuperNode = 1024;
  StepShape shared = step;
  for (shared.chips = 1; shared.chips < kSuperNode; shared.chips *= 2) {
    if (device::LevelFor(chip, ResidentBytes(model, shared)) != nullptr) break;
  }
  return shared.chips;
}

int64_t SequencesThatFit(const device::ChipSpec& chip, const ModelShape& model,
                         const StepShape& step) {
  StepShape none = step, one = step;
  none.sequences = 0;
  one.sequences = 1;
  const double weights = ResidentBytes(model, none);
  const double each = ResidentBytes(model, one) - weights;
  const double room = chip.memory.back().capacity_bytes - weights;
  return room <= 0 ? 0 : static_cast<int64_t>(room / each);
}

}  // namespace baton::cli
