// A policy with a call before each plan: where faults are injected into an engine's thread.
#pragma once

#include <functional>
#include <utility>

#include "engine/batch_policy.h"

namespace baton::engine {

class HookedPolicy final : public BatchPolicy {
 public:
  // `inner` must outlive it; `hook` runs on the engine's thread and may block it.
  HookedPolicy(BatchPolicy& inner, std::function<void()> hook)
      : inner_(inner), hook_(std::move(hook)) {}

  StepPlan Plan(const EngineView& view) override {
    hook_();
    return inner_.Plan(view);
  }

 private:
  BatchPolicy& inner_;
  const std::function<void()> hook_;
};

}  // namespace baton::engine
