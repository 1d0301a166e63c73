// A prefill node: model, KV pool, engine, service and its place in the cluster, wired together.
#pragma once

#include "proto/config.pb.h"

namespace baton::prefill_node {

// Runs until SIGTERM or SIGINT, then drains. Returns the process's exit code. REQUIRES:
// server::BlockSignals was called.
int RunPrefillNode(const v1::PrefillConfig& config);

}  // namespace baton::prefill_node
