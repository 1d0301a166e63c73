// A prefill node: model, KV pool, engine, service and its place in the cluster, wired together.
#pragma once

#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "proto/node.pb.h"

namespace baton::prefill_node {

// Runs until SIGTERM or SIGINT, then drains. Returns the process's exit code. REQUIRES:
// server::BlockSignals was called.
int RunPrefillNode(const v1::PrefillConfig& config);
// The same for a node that the router may move: drains as well when the router wants it in the
// other role, which it returns; NODE_ROLE_UNSPECIFIED: a signal came.
absl::StatusOr<v1::NodeRole> RunPrefillNodeUntilMoved(const v1::PrefillConfig& config);

}  // namespace baton::prefill_node
