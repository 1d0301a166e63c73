// A node of role `any`: one of both kinds at a time, the other when the router asks for it.
#pragma once

#include "proto/config.pb.h"

namespace baton::any_node {

// Runs until SIGTERM or SIGINT, then drains. Returns the process's exit code. REQUIRES:
// server::BlockSignals was called.
//
// A move: the node drains (streams that are longer than drain_timeout_ms go on elsewhere, with the
// same tokens), leaves the cluster, loads the model for the device of its new role and registers
// again. Its cached blocks come along where it has a cache_disk.
int RunAnyNode(const v1::AnyConfig& config);

// What the node is started with in each role.
v1::PrefillConfig PrefillConfigOf(const v1::AnyConfig& config);
v1::DecodeConfig DecodeConfigOf(const v1::AnyConfig& config);

}  // namespace baton::any_node
