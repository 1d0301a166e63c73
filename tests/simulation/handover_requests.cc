// HandoverWorld: the way of a request, as the router drives it.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "tests/simulation/handover_parts.h"

namespace baton::simulation {
namespace {

constexpr int kCallsMax = 40;  // of one request in a world full of faults

// The bytes of one block of one layer, as the prefill of one epoch makes them. In truth every epoch
// makes the same; here a mixture must show.
void Fill(uint8_t* bytes, size_t size, uint64_t request, int32_t layer, int32_t block,
          uint64_t epoch) {
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = CounterRandom(request * 1000 + epoch, (layer * 100 + block) * 1000 + i);
    std::memcpy(bytes + i, &word, std::min<size_t>(8, size - i));
  }
}

// Nothing is taken from a prefix cache, where the intake knows of one.
template <typename Intake>
absl::Status Reserve(Intake& intake, const v1::Ticket& ticket, int32_t tokens,
                     decode_node::LeaseEvents events) {
  if constexpr (requires {
                  intake.Reserve(ticket, tokens, std::vector<kvcache::BlockRef>(), events);
                }) {
    return intake.Reserve(ticket, tokens, std::vector<kvcache::BlockRef>(), std::move(events));
  } else {
    return intake.Reserve(ticket, tokens, std::move(events));
  }
}

}  // namespace

void HandoverWorld::StartRequest() {
  auto request = std::make_shared<Request>();
  request->id = static_cast<uint64_t>(++tally_.requests);
  request->router = router_;
  request->blocks = 1 + static_cast<int32_t>(Below(6));
  requests_.push_back(request);
  if (faults_ && Chance(0.15)) {
    queue_.After(absl::Milliseconds(static_cast<int64_t>(Below(200))), [this, request] {
      if (!request->over) End(request, &tally_.aborted);
    });
  }
  Attempt(request);
}

void HandoverWorld::Attempt(const std::shared_ptr<Request>& request) {
  if (request->over) return;
  if (++request->calls > kCallsMax) return End(request, &tally_.failed);
  ++request->attempt;
  request->leased = request->committed = false;
  std::string id;
  for (int i = 0; i < 2; ++i) {
    const uint64_t word = rng_.Next();
    id.append(reinterpret_cast<const char*>(&word), 8);
  }
  request->ticket.set_id(id);
  request->ticket.set_epoch(1);
  Decode& node = *decode_[Below(2)];
  request->decode = &node;
  request->decode_incarnation = node.incarnation;
  request->prefill = nullptr;
  if (!node.up) return Retry(request);
  On(node, NetworkDelay(),
     [this, request, &node, ticket = request->ticket, attempt = request->attempt] {
       if (node.ended.count(ticket.id()) > 0) return;
       decode_node::LeaseEvents events{
           .on_committed =
               [this, request, &node, attempt](std::vector<kvcache::BlockRef> blocks,
                                               const v1::Token& token) {
                 Committed(request, node, attempt, std::move(blocks), token);
               },
           .on_expired =
               [this, &node, request, attempt, id = ticket.id()](const absl::Status&) {
                 ++tally_.expired;
                 node.leases.erase(id);
                 queue_.After(NetworkDelay(), [this, request, attempt] {
                   if (request->attempt == attempt) Retry(request);
                 });
               }};
       const absl::Status status =
           Reserve(*node.intake, ticket, request->tokens(), std::move(events));
       if (status.ok()) node.leases[ticket.id()] = {request->blocks, queue_.now()};
       queue_.After(NetworkDelay(), [this, request, &node, attempt, ok = status.ok()] {
         if (request->over || request->attempt != attempt) return;
         ok ? Leased(request, node) : Retry(request);
       });
     });
}

void HandoverWorld::Leased(const std::shared_ptr<Request>& request, Decode& node) {
  if (!node.up || node.incarnation != request->decode_incarnation) return;
  request->leased = true;
  PrefillFor(request);
}

void HandoverWorld::PrefillFor(const std::shared_ptr<Request>& request) {
  Prefill& node = *prefill_[Below(2)];
  request->prefill = &node;
  request->prefill_incarnation = node.incarnation;
  const uint64_t epoch = request->ticket.epoch();
  if (!node.up) {
    queue_.After(NetworkDelay(), [this, request, attempt = request->attempt, epoch] {
      PrefillEnded(request, attempt, epoch, absl::UnavailableError("not there"));
    });
    return;
  }
  On(node, NetworkDelay(), [this, request, &node, epoch, attempt = request->attempt] {
    // A call that was given up before it arrived does nothing.
    if (!request->over && request->attempt == attempt) SendChunks(request, node, epoch);
  });
}

void HandoverWorld::RunPush(Prefill& node, uint64_t life, const PushKey& key,
                            const std::shared_ptr<kvcache::PushState>& state) {
  if (state->Run()) return;
  const auto push = node.pushes.find(key);
  const absl::Time deadline = state->NextDeadline();
  if (push == node.pushes.end() || push->second.deadline_set ||
      deadline == absl::InfiniteFuture()) {
    return;
  }
  push->second.deadline_set = true;
  OnLife(node, life, deadline - queue_.now(), [this, &node, life, key, state] {
    const auto found = node.pushes.find(key);
    if (found != node.pushes.end()) found->second.deadline_set = false;
    RunPush(node, life, key, state);
  });
}

void HandoverWorld::SendChunks(const std::shared_ptr<Request>& request, Prefill& node,
                               uint64_t epoch) {
  const PushKey key(request->id, request->attempt * 100 + epoch);
  auto blocks = node.pool->Allocate(request->blocks, kvcache::BlockPool::Use::kUsed);
  const auto done = [this, request, &node, key, epoch,
                     attempt = request->attempt](const absl::Status& status) {
    node.pushes.erase(key);
    queue_.After(NetworkDelay(), [this, request, attempt, epoch, status] {
      PrefillEnded(request, attempt, epoch, status);
    });
  };
  if (!blocks.ok()) return done(blocks.status());
  v1::KvManifest manifest;
  *manifest.mutable_ticket() = request->ticket;
  manifest.mutable_ticket()->set_epoch(epoch);
  manifest.set_decode_incarnation(request->decode_incarnation);
  manifest.set_model_fingerprint(kFingerprint);
  manifest.set_layout_version(1);
  std::vector<int32_t> ids;
  for (const kvcache::BlockRef& block : *blocks) ids.push_back(block.id());
  const kvcache::PushState::Environment environment{
      *node.wire, *node.store, queue_.clock(), absl::Seconds(10),
      [this, &node, key, life = node.incarnation](std::shared_ptr<kvcache::PushState> state) {
        OnLife(node, life, absl::ZeroDuration(),
               [this, &node, life, key, state] { RunPush(node, life, key, state); });
      }};
  auto state = std::make_shared<kvcache::PushState>(environment, request->decode->name,
                                                    absl::Minutes(10), manifest, done);
  node.pushes[key] = {request, *std::move(blocks), state, false};
  v1::PairRequest pair;
  *pair.mutable_layout() =
      kvcache::ToProto({.geometry = kGeometry, .model_fingerprint = kFingerprint});
  const absl::StatusOr<v1::PairReply> paired =
      node.wire->Pair(request->decode->name, pair, absl::Seconds(2));
  state->OnPaired(paired.ok() ? absl::StatusOr<int64_t>(paired->window_bytes()) : paired.status());
  Compute(request, node, key, epoch, ids);
}

void HandoverWorld::Compute(const std::shared_ptr<Request>& request, Prefill& node,
                            const PushKey& key, uint64_t epoch, const std::vector<int32_t>& ids) {
  const absl::Duration step = absl::Milliseconds(1 + static_cast<int64_t>(Below(20)));
  for (int32_t block = 0; block < request->blocks; ++block) {
    On(node, step * (block + 1), [&node, key, id = ids[block], block, epoch, request] {
      const auto push = node.pushes.find(key);
      if (push == node.pushes.end()) return;
      for (int32_t layer = 0; layer < kLayers; ++layer) {
        Fill(node.store->BlockLayer(layer, id), kGeometry.BlockLayerBytes(), request->id, layer,
             block, epoch);
        push->second.state->SendBlocks(layer, block, {id});
      }
      if (block + 1 < request->blocks) return;
      v1::Token token;
      token.set_id(static_cast<int32_t>(epoch));
      push->second.state->Commit(request->tokens(), token);
    });
  }
}

void HandoverWorld::PrefillEnded(const std::shared_ptr<Request>& request, uint64_t attempt,
                                 uint64_t epoch, const absl::Status& status) {
  if (status.ok() || request->over || request->committed) return;
  if (attempt != request->attempt || epoch != request->ticket.epoch()) return;
  if (absl::IsNotFound(status) || absl::IsFailedPrecondition(status)) return Retry(request);
  if (++request->calls > kCallsMax) return End(request, &tally_.failed);
  ++tally_.takeovers;
  request->ticket.set_epoch(epoch + 1);
  PrefillFor(request);
}

void HandoverWorld::Committed(const std::shared_ptr<Request>& request, Decode& node,
                              uint64_t attempt, std::vector<kvcache::BlockRef> blocks,
                              const v1::Token& token) {
  const std::string ticket = node.committing;
  node.leases.erase(ticket);
  std::vector<uint8_t> wanted(kGeometry.BlockLayerBytes());
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    for (int32_t block = 0; block < request->blocks; ++block) {
      Fill(wanted.data(), wanted.size(), request->id, layer, block, token.id());
      if (std::memcmp(wanted.data(), node.store->BlockLayer(layer, blocks[block].id()),
                      wanted.size()) != 0) {
        Violated(absl::StrCat("I2: request ", request->id,
                              " runs on bytes that its prefill of epoch ", token.id(),
                              " did not send: layer ", layer, ", block ", block));
      }
    }
  }
  if (node.ended.count(ticket) > 0) return;
  node.running[ticket] = std::move(blocks);
  if (request->attempt == attempt) request->committed = true;
  const absl::Duration decode = absl::Milliseconds(5 + static_cast<int64_t>(Below(300)));
  On(node, decode, [this, request, &node, ticket, attempt] {
    if (node.running.erase(ticket) == 0) return;
    queue_.After(NetworkDelay(), [this, request, attempt] {
      if (!request->over && request->attempt == attempt) End(request, &tally_.completed);
    });
  });
}

void HandoverWorld::Drop(const Request& request) {
  if (request.decode != nullptr && broken_ != Broken::kRenewedForEver) {
    CancelOn(*request.decode, request.ticket.id(), NetworkDelay(), true);
  }
  if (request.prefill == nullptr) return;
  On(*request.prefill, NetworkDelay(), [node = request.prefill, id = request.id] {
    std::vector<std::shared_ptr<kvcache::PushState>> states;
    for (const auto& [key, push] : node->pushes) {
      if (key.first == id) states.push_back(push.state);
    }
    for (const auto& state : states) state->Cancel();
  });
}

void HandoverWorld::Retry(const std::shared_ptr<Request>& request) {
  if (request->over) return;
  Drop(*request);
  ++request->attempt;  // what still comes of the old one counts for nothing
  queue_.After(absl::Milliseconds(50), [this, request] { Attempt(request); });
}

void HandoverWorld::End(const std::shared_ptr<Request>& request, int64_t* counter) {
  if (request->over) return Violated(absl::StrCat("I3: request ", request->id, " ended twice"));
  request->over = true;
  ++*counter;
  Drop(*request);
  if (broken_ == Broken::kRenewedForEver) return;  // stays among those that are renewed
  requests_.erase(std::find(requests_.begin(), requests_.end(), request));
}

void HandoverWorld::RenewLeases() {
  for (const auto& request : requests_) {
    if (!request->leased || request->committed) continue;
    Decode& node = *request->decode;
    On(node, NetworkDelay(), [this, &node, id = request->ticket.id()] {
      if (!node.intake->Renew({id}).empty()) return;
      node.leases[id].touched = queue_.now();
    });
  }
  queue_.After(kRenewInterval, [this] { RenewLeases(); });
}

}  // namespace baton::simulation
