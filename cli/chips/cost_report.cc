#include "cli/chips/cost_report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"

namespace baton::cli {
namespace {

std::string Title(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step) {
  return absl::StrFormat("modelled: %s on %d x %s%s, %d sequence%s of %d new token%s after %d",
                         model.name, step.chips, chip.name, chip.exists ? "" : " (planned)",
                         step.sequences, step.sequences == 1 ? "" : "s", step.new_tokens,
                         step.new_tokens == 1 ? "" : "s", step.context);
}

double TokensPerSecond(const StepShape& step, const StepCost& cost) {
  return static_cast<double>(step.sequences * step.new_tokens) / cost.seconds;
}

}  // namespace

absl::StatusOr<Placement> Place(const device::ChipSpec& chip, const ModelShape& model,
                                const StepShape& step) {
  Placement placement;
  BATON_ASSIGN_OR_RETURN(placement.step, CostOfStep(chip, model, step));
  placement.weight_bytes = static_cast<double>(model.Weights()) * model.weight_bytes;
  placement.kv_token_bytes =
      static_cast<double>(model.CachedNumbers() * model.layers) * step.kv_bytes;
  placement.sequences_that_fit = SequencesThatFit(chip, model, step);
  placement.heads_per_chip = static_cast<double>(model.heads) / step.chips;
  placement.experts_per_chip = static_cast<double>(model.experts) / step.chips;
  return placement;
}

void PrintCost(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step,
               const StepCost& cost) {
  std::printf("%s\n%.4g GB a chip in its %s\n\n%-30s %7s %11s %7s %11s %11s  %s\n",
              Title(chip, model, step).c_str(), cost.chip_bytes / 1e9, cost.level->name.c_str(),
              "op, on each chip", "times", "us", "share", "MB", "Gop", "bound by");
  for (const auto& [work, op] : cost.ops) {
    std::printf("%-30s %7.0f %11.4g %6.1f%% %11.4g %11.4g  %s\n", work.name.c_str(), work.repeats,
                op.seconds * 1e6, 100 * op.seconds / cost.seconds,
                work.bytes() * work.repeats / 1e6, work.flops * work.repeats / 1e9,
                device::BoundName(op.bound));
  }
  std::printf("%-30s %7s %11.4g          %.5g tokens/s", "step", "", cost.seconds * 1e6,
              TokensPerSecond(step, cost));
  if (cost.joules > 0) {
    std::printf(", %.4g J a token",
                cost.joules / static_cast<double>(step.sequences * step.new_tokens));
  }
  std::printf("\n");
}

nlohmann::json CostJson(const device::ChipSpec& chip, const ModelShape& model,
                        const StepShape& step, const StepCost& cost) {
  nlohmann::json ops = nlohmann::json::array();
  for (const auto& [work, op] : cost.ops) {
    ops.push_back({{"op", work.name},
                   {"repeats", work.repeats},
                   {"seconds", op.seconds},
                   {"compute_s", op.compute_s},
                   {"memory_s", op.memory_s},
                   {"link_s", op.link_s},
                   {"latency_s", op.latency_s},
                   {"bytes", work.bytes() * work.repeats},
                   {"flops", work.flops * work.repeats},
                   {"bound", device::BoundName(op.bound)}});
  }
  nlohmann::json json = {{"kind", "modelled"},
                         {"chip", chip.name},
                         {"chip_exists", chip.exists},
                         {"model", model.name},
                         {"chips", step.chips},
                         {"sequences", step.sequences},
                         {"new_tokens", step.new_tokens},
                         {"context", step.context},
                         {"memory_level", cost.level->name},
                         {"bytes_per_chip", cost.chip_bytes},
                         {"seconds", cost.seconds},
                         {"tokens_per_s", TokensPerSecond(step, cost)},
                         {"bound", device::BoundName(cost.bound)},
                         {"ops", ops}};
  if (cost.joules > 0) json["joules"] = cost.joules;
  return json;
}

std::string CostSvg(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step,
                    const StepCost& cost) {
  constexpr int kRow = 26, kLeft = 250, kWidth = 560;
  const int height = kRow * (static_cast<int>(cost.ops.size()) + 2) + 16;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
      "font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"12\" y=\"20\">%s: %.4g "
      "us</text>\n",
      kLeft + kWidth + 130, height, Title(chip, model, step), cost.seconds * 1e6);
  int y = 16 + kRow;
  for (const auto& [work, op] : cost.ops) {
    const double share = op.seconds / cost.seconds;
    absl::StrAppendFormat(&svg,
                          "<text x=\"12\" y=\"%d\">%s</text><rect x=\"%d\" y=\"%d\" width=\"%.1f\" "
                          "height=\"18\" fill=\"#2f6fb3\"/><text x=\"%.1f\" y=\"%d\">%.1f %%, "
                          "%s</text>\n",
                          y + 14, work.name, kLeft, y, share * kWidth, kLeft + share * kWidth + 8,
                          y + 14, 100 * share, device::BoundName(op.bound));
    y += kRow;
  }
  return svg + "</svg>\n";
}

void PrintPlacement(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step,
                    const Placement& placement) {
  const StepCost& cost = placement.step;
  std::printf("%s\n", Title(chip, model, step).c_str());
  const auto line = [](const char* what, const std::string& value) {
    std::printf("  %-28s %s\n", what, value.c_str());
  };
  line("weights", absl::StrFormat("%.4g billion (%.4g a token), %.5g GB at %.4g bits",
                                  static_cast<double>(model.Weights()) / 1e9,
                                  static_cast<double>(model.ActiveWeights()) / 1e9,
                                  placement.weight_bytes / 1e9, model.weight_bytes * 8));
  line("KV cache", absl::StrFormat("%.5g kB a token", placement.kv_token_bytes / 1e3));
  line("chips", absl::StrFormat("%d of %d die%s, the model shared evenly", step.chips, chip.dies,
                                chip.dies == 1 ? "" : "s"));
  line(
      "on each chip",
      absl::StrFormat("%.4g GB in its %s of %.4g GB; %.4g heads%s", cost.chip_bytes / 1e9,
                      cost.level->name, cost.level->capacity_bytes / 1e9, placement.heads_per_chip,
                      model.experts > 0 ? absl::StrFormat(", %.4g of %d experts a layer",
                                                          placement.experts_per_chip, model.experts)
                                        : ""));
  line("on each die",
       absl::StrFormat("%.4g GB, %.4g heads%s", cost.chip_bytes / 1e9 / chip.dies,
                       placement.heads_per_chip / chip.dies,
                       model.experts > 0 ? absl::StrFormat(", %.4g experts a layer",
                                                           placement.experts_per_chip / chip.dies)
                                         : ""));
  line("a step",
       absl::StrFormat("%.4g ms, %.4g tokens/s a sequence, %.5g in all; bound by %s",
                       cost.seconds * 1e3, static_cast<double>(step.new_tokens) / cost.seconds,
                       TokensPerSecond(step, cost), device::BoundName(cost.bound)));
  line("sequences that fit", absl::StrFormat("%d of %d tokens", placement.sequences_that_fit,
                                             step.context + step.new_tokens));
}

nlohmann::json PlacementJson(const device::ChipSpec& chip, const ModelShape& model,
                             const StepShape& step, const Placement& placement) {
  nlohmann::json json = CostJson(chip, model, step, placement.step);
  json["weights"] = model.Weights();
  json["active_weights"] = model.ActiveWeights();
  json["weight_bytes"] = placement.weight_bytes;
  json["kv_bytes_per_token"] = placement.kv_token_bytes;
  json["dies_per_chip"] = chip.dies;
  json["heads_per_chip"] = placement.heads_per_chip;
  json["experts_per_chip"] = placement.experts_per_chip;
  json["sequences_that_fit"] = placement.sequences_that_fit;
  return json;
}

}  // namespace baton::cli
