// A decode node: model, KV pool, engine, services and its place in the cluster, wired together.
#pragma once

#include "proto/config.pb.h"

namespace baton::decode_node {

// Runs until SIGTERM or SIGINT, then drains. Returns the process's exit code. REQUIRES:
// server::BlockSignals was called.
int RunDecodeNode(const v1::DecodeConfig& config);

}  // namespace baton::decode_node
