// What a node of either kind tells of its engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/assembly.h"
#include "engine/engine.h"
#include "kvcache/tier_reader.h"
#include "proto/node.pb.h"
#include "server/fault_injection.h"
#include "server/node_shell.h"

namespace baton::engine {

// The load as far as every node has it: sequences, blocks, tiers, tokens, steps, injected faults.
// `stats` are those of the node's engine, taken once for all that the caller adds.
v1::NodeLoad LoadOf(const EngineStats& stats, const Assembly& parts,
                    const server::FaultInjection& faults);

// How the node presents itself to its routers. `movable`: they may change its role.
server::NodeShell::Description DescriptionOf(const Assembly& parts, uint64_t incarnation,
                                             bool movable);

// The service that gives cached blocks to prefill nodes; null where nothing is cached. Adds what it
// gives to `bytes_given`; all arguments must outlive it.
std::unique_ptr<grpc::Service> KvSourceOf(const Assembly& parts, kvcache::TierReader& tier_reader,
                                          uint64_t incarnation, std::atomic<int64_t>* bytes_given);

}  // namespace baton::engine
