// `baton chips list | show | compare | roofline | plan`.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "cli/chips/chip_file.h"
#include "cli/chips/cost_report.h"
#include "cli/chips/model_shape.h"
#include "cli/chips/model_work.h"
#include "cli/commands.h"

namespace baton::cli {
namespace {

struct Options {
  std::string chips_dir = "deploy/chips", chip, model, svg;
  std::vector<std::string> names;
  int64_t batch = 1, context = 2048, prompt = 0;
  int chips = 0;
  double weight_bits = 0, kv_bits = 16;
  bool json = false;
};

absl::Status List(const Options& o) {
  BATON_ASSIGN_OR_RETURN(const std::vector<std::string> names, ChipNames(o.chips_dir));
  for (const std::string& name : names) {
    BATON_ASSIGN_OR_RETURN(const LoadedChip chip, FindChip(name, o.chips_dir));
    std::printf("%-16s %-8s %s\n", name.c_str(), chip.spec.exists ? "exists" : "planned",
                chip.spec.description.c_str());
  }
  return absl::OkStatus();
}

absl::Status Show(const Options& o) {
  BATON_ASSIGN_OR_RETURN(const LoadedChip chip, FindChip(o.chip, o.chips_dir));
  std::printf("%s: %s%s\n", chip.spec.name.c_str(), chip.spec.description.c_str(),
              chip.spec.exists ? "" : " (planned: no such silicon exists)");
  for (const LoadedChip::Line& line : chip.lines) {
    std::printf("  %-36s %12g   %s\n", line.what.c_str(), line.value, line.source.c_str());
  }
  return absl::OkStatus();
}

// The step that the options ask for, on as many chips as it needs unless they say how many.
absl::StatusOr<StepShape> StepOf(const Options& o, const device::ChipSpec& chip,
                                 const ModelShape& model) {
  StepShape step{.sequences = o.batch,
                 .new_tokens = o.prompt > 0 ? o.prompt : 1,
                 .context = o.prompt > 0 ? 0 : o.context,
                 .kv_bytes = o.kv_bits / 8};
  step.chips = o.chips > 0 ? o.chips : ChipsNeeded(chip, model, step);
  if (step.chips > 1 && chip.chip_link.bandwidth_bytes_per_s == 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s needs %d chips, and the spec of %s has no chip_link", model.name,
                        step.chips, chip.name));
  }
  return step;
}

absl::Status Roofline(const Options& o) {
  BATON_ASSIGN_OR_RETURN(const LoadedChip chip, FindChip(o.chip, o.chips_dir));
  BATON_ASSIGN_OR_RETURN(const ModelShape model,
                         ReadModelShape(o.model, o.chips_dir + "/models", o.weight_bits));
  BATON_ASSIGN_OR_RETURN(const StepShape step, StepOf(o, chip.spec, model));
  BATON_ASSIGN_OR_RETURN(const StepCost cost, CostOfStep(chip.spec, model, step));
  if (!o.svg.empty()) {
    std::ofstream out(o.svg);
    out << CostSvg(chip.spec, model, step, cost);
    if (!out) return absl::InternalError("cannot write " + o.svg);
  }
  if (o.json) {
    std::printf("%s\n", CostJson(chip.spec, model, step, cost).dump(2).c_str());
  } else {
    PrintCost(chip.spec, model, step, cost);
  }
  return absl::OkStatus();
}

absl::Status Plan(const Options& o) {
  BATON_ASSIGN_OR_RETURN(const LoadedChip chip, FindChip(o.chip, o.chips_dir));
  BATON_ASSIGN_OR_RETURN(const ModelShape model,
                         ReadModelShape(o.model, o.chips_dir + "/models", o.weight_bits));
  BATON_ASSIGN_OR_RETURN(const StepShape step, StepOf(o, chip.spec, model));
  BATON_ASSIGN_OR_RETURN(const Placement placement, Place(chip.spec, model, step));
  if (o.json) {
    std::printf("%s\n", PlacementJson(chip.spec, model, step, placement).dump(2).c_str());
  } else {
    PrintPlacement(chip.spec, model, step, placement);
  }
  return absl::OkStatus();
}

absl::Status Compare(const Options& o) {
  BATON_ASSIGN_OR_RETURN(const ModelShape model,
                         ReadModelShape(o.model, o.chips_dir + "/models", o.weight_bits));
  std::vector<std::string> names = o.names;
  if (names.empty()) {
    BATON_ASSIGN_OR_RETURN(names, ChipNames(o.chips_dir));
  }
  std::printf("modelled, %s, batch %d, %s %d\n%-16s %6s %12s %12s %12s %10s  %s\n",
              model.name.c_str(), static_cast<int>(o.batch), o.prompt > 0 ? "prompt of" : "context",
              static_cast<int>(o.prompt > 0 ? o.prompt : o.context), "chip", "chips", "ms a step",
              "tokens/s", "J/token", "GB a chip", "bound by");
  for (const std::string& name : names) {
    BATON_ASSIGN_OR_RETURN(const LoadedChip chip, FindChip(name, o.chips_dir));
    const absl::StatusOr<StepShape> step = StepOf(o, chip.spec, model);
    const absl::StatusOr<StepCost> cost =
        step.ok() ? CostOfStep(chip.spec, model, *step) : absl::StatusOr<StepCost>(step.status());
    if (!cost.ok()) {
      std::printf("%-16s %s\n", chip.spec.name.c_str(),
                  std::string(cost.status().message()).c_str());
      continue;
    }
    const double tokens = static_cast<double>(step->sequences * step->new_tokens);
    const std::string energy =
        cost->joules > 0 ? absl::StrFormat("%.4g", cost->joules / tokens) : std::string("-");
    std::printf("%-16s %6d %12.4g %12.5g %12s %10.4g  %s\n", chip.spec.name.c_str(), step->chips,
                cost->seconds * 1e3, tokens / cost->seconds, energy.c_str(), cost->chip_bytes / 1e9,
                device::BoundName(cost->bound));
  }
  return absl::OkStatus();
}

void AddModelOptions(CLI::App* command, Options* o) {
  command->add_option("--model", o->model, "config.json, its folder, or a name in CHIPS-DIR/models")
      ->required();
  command->add_option("--batch", o->batch, "sequences in a step")->check(CLI::Range(1, 1 << 20));
  command->add_option("--context", o->context, "tokens of each sequence before the step")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  command
      ->add_option("--prompt", o->prompt, "a prefill of this many tokens instead of a decode step")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--chips", o->chips, "chips that share the model; default: as few as hold it")
      ->check(CLI::Range(1, 1024));
  command->add_option("--weight-bits", o->weight_bits, "bits of a weight; default: the model's")
      ->check(CLI::Range(1.0, 32.0));
  command->add_option("--kv-bits", o->kv_bits, "bits of a number in the KV cache")
      ->check(CLI::Range(4.0, 32.0))
      ->capture_default_str();
}

}  // namespace

void AddChipsCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* chips = app.add_subcommand(
      "chips", "Describe chips and model what they would bring; nothing here is measured");
  chips->require_subcommand(1);
  chips->add_option("--chips-dir", options->chips_dir, "folder of the spec files")
      ->envname("BATON_CHIPS_DIR")
      ->capture_default_str();
  chips->fallthrough();
  const auto add = [&](const char* name, const char* help, absl::Status (*run)(const Options&)) {
    CLI::App* command = chips->add_subcommand(name, help);
    command->callback([options, exit_code, run] {
      const absl::Status status = run(*options);
      if (status.ok()) return;
      std::fprintf(stderr, "baton chips: %s\n", std::string(status.message()).c_str());
      *exit_code = absl::IsInvalidArgument(status) || absl::IsNotFound(status) ? 2 : 1;
    });
    return command;
  };
  add("list", "the chips that have a spec file", List);
  add("show", "every figure of a chip with its source", Show)
      ->add_option("chip", options->chip, "name or spec file")
      ->required();
  CLI::App* compare = add("compare", "one step of a model on several chips", Compare);
  compare->add_option("chip", options->names, "names or spec files; default: all");
  AddModelOptions(compare, options.get());
  CLI::App* roofline = add("roofline", "where the time of a step goes, op by op", Roofline);
  CLI::App* plan = add("plan", "how a model is placed on chips, and what that brings", Plan);
  for (CLI::App* command : {roofline, plan}) {
    command->add_option("--chip", options->chip, "name or spec file")->required();
    command->add_flag("--json", options->json, "as JSON");
    AddModelOptions(command, options.get());
  }
  roofline->add_option("--svg", options->svg, "also draw it into this file");
}

}  // namespace baton::cli
