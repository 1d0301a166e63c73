// A decode node: model, KV pool, engine, services and its place in the cluster, wired together.
#pragma once

#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "proto/node.pb.h"

namespace baton::decode_node {

// Runs until SIGTERM or SIGINT, then drains. Returns the process's exit code. REQUIRES:
// server::BlockSignals was called.
int RunDecodeNode(const v1::DecodeConfig& config);
// The same for a node that the router may move: drains as well when the router wants it in the
// other role, which it returns; NODE_ROLE_UNSPECIFIED: a signal came.
absl::StatusOr<v1::NodeRole> RunDecodeNodeUntilMoved(const v1::DecodeConfig& config);

}  // namespace baton::decode_node
