// What the timing model found, for people and programs. Every form says that it is modelled.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "cli/chips/model_work.h"

namespace baton::cli {

// How a model lies on its chips, and what follows.
struct Placement {
  StepCost step;
  double weight_bytes = 0;    // of the whole model
  double kv_token_bytes = 0;  // of the cache, a token over all layers
  int64_t sequences_that_fit = 0;
  double heads_per_chip = 0, experts_per_chip = 0;  // experts of each mixture layer
};

// Errors of CostOfStep.
absl::StatusOr<Placement> Place(const device::ChipSpec& chip, const ModelShape& model,
                                const StepShape& step);

void PrintCost(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step,
               const StepCost& cost);
nlohmann::json CostJson(const device::ChipSpec& chip, const ModelShape& model,
                        const StepShape& step, const StepCost& cost);
// A bar an op, as long as its share of the step.
std::string CostSvg(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step,
                    const StepCost& cost);
void PrintPlacement(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step,
                    const Placement& placement);
nlohmann::json PlacementJson(const device::ChipSpec& chip, const ModelShape& model,
                             const StepShape& step, const Placement& placement);

}  // namespace baton::cli
