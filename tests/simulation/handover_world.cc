// HandoverWorld: nodes, faults, invariants. Requests are in handover_requests.cc.
#include "tests/simulation/handover_world.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulation/handover_parts.h"

namespace baton::simulation {
namespace {

constexpr absl::Duration kLeaseTimeout = absl::Seconds(10);
constexpr absl::Duration kExpiryPoll = absl::Milliseconds(50);
constexpr absl::Duration kNodeTimeout = absl::Milliseconds(1750);  // until a silent node is missed
constexpr absl::Duration kTrouble = absl::Seconds(20);
constexpr absl::Duration kQuiet = absl::Seconds(30);

}  // namespace

HandoverWorld::HandoverWorld(uint64_t seed, Broken broken) : rng_(seed), broken_(broken) {
  for (const char* name : {"p0", "p1"}) {
    auto node = std::make_unique<Prefill>();
    node->name = name;
    node->store = kvcache::KvStore::Create(device_, kGeometry, kBlocks).value();
    node->wire = std::make_unique<Wire>(*this, *node);
    prefill_.push_back(std::move(node));
    StartPrefill(*prefill_.back());
  }
  for (const char* name : {"d0", "d1"}) {
    decode_.push_back(std::make_unique<Decode>());
    decode_.back()->name = name;
    decode_.back()->store = kvcache::KvStore::Create(device_, kGeometry, kBlocks).value();
    StartDecode(*decode_.back());
  }
}

HandoverWorld::~HandoverWorld() {
  for (const auto& node : prefill_) node->pushes.clear();
  for (const auto& node : decode_) node->running.clear();
}

absl::Duration HandoverWorld::NetworkDelay() {
  // Now and then a hundred times as long as usual.
  const double ms = Chance(0.01) ? 30 : 0.3;
  return absl::Microseconds(static_cast<int64_t>(1000 * ms * (0.5 + Uniform())));
}

void HandoverWorld::On(Node& node, absl::Duration delay, std::function<void()> event) {
  OnLife(node, node.incarnation, delay, std::move(event));
}

void HandoverWorld::OnLife(Node& node, uint64_t incarnation, absl::Duration delay,
                           std::function<void()> event) {
  PutOff(node, incarnation, delay, queue_.NewPlace(), std::move(event));
}

void HandoverWorld::PutOff(Node& node, uint64_t incarnation, absl::Duration delay, uint64_t place,
                           std::function<void()> event) {
  queue_.After(delay, place, [this, &node, incarnation, place, event = std::move(event)] {
    if (!node.up || node.incarnation != incarnation) return;
    const absl::Duration frozen = node.frozen_until - queue_.now();
    if (frozen > absl::ZeroDuration()) return PutOff(node, incarnation, frozen, place, event);
    event();
  });
}

void HandoverWorld::StartPrefill(Prefill& node) {
  node.pool = std::make_unique<kvcache::BlockPool>(kBlocks);
  node.incarnation = rng_.Next();
  node.up = true;
}

void HandoverWorld::StartDecode(Decode& node) {
  node.pool = std::make_unique<kvcache::BlockPool>(kBlocks);
  node.incarnation = rng_.Next();
  node.up = true;
  node.intake = std::make_unique<decode_node::KvIntake>(*node.pool, kLayers, kBlockTokens,
                                                        queue_.clock(), kLeaseTimeout);
  node.sink = std::make_unique<Sink>(*this, node);
  node.receiver = kvcache::KvReceiver::Create(
      *node.sink, *node.store, {.geometry = kGeometry, .model_fingerprint = kFingerprint},
      {.incarnation = node.incarnation, .window_bytes = 2048});
  ExpireLeases(node);
}

void HandoverWorld::ExpireLeases(Decode& node) {
  if (broken_ != Broken::kLeasesNeverExpire) node.intake->Expire();
  On(node, kExpiryPoll, [this, &node] { ExpireLeases(node); });
}

void HandoverWorld::Crash(Node& node) {
  ++tally_.crashes;
  node.up = false;
  for (const auto& decode : decode_) {
    if (decode.get() != &node) continue;
    const auto streams = decode->streams;
    for (const auto& [number, stream] : streams) stream->Break();
    decode->running.clear();
    decode->leases.clear();
    decode->receiver.reset();
    decode->sink.reset();
    decode->intake.reset();
    decode->pool.reset();
  }
  for (const auto& prefill : prefill_) {
    if (prefill.get() != &node) continue;
    prefill->pushes.clear();
    prefill->pool.reset();
  }
  // Its connections break at once, or its silence is noticed; in either case by the router alone.
  const absl::Duration noticed = Chance(0.5) ? NetworkDelay() : kNodeTimeout;
  queue_.After(noticed, [this, &node, incarnation = node.incarnation] {
    const auto requests = requests_;
    for (const auto& request : requests) {
      if (request->over) continue;
      if (request->decode == &node && request->decode_incarnation == incarnation) {
        Retry(request);
      } else if (request->prefill == &node && request->prefill_incarnation == incarnation) {
        PrefillEnded(request, request->attempt, request->ticket.epoch(),
                     absl::UnavailableError("gone"));
      }
    }
  });
  queue_.After(absl::Milliseconds(200 + static_cast<int64_t>(Below(3000))), [this, &node] {
    for (const auto& decode : decode_) {
      if (decode.get() == &node) StartDecode(*decode);
    }
    for (const auto& prefill : prefill_) {
      if (prefill.get() == &node) StartPrefill(*prefill);
    }
  });
}

void HandoverWorld::Freeze(Node& node, absl::Duration time) {
  ++tally_.freezes;
  node.frozen_until = queue_.now() + time;
  if (time < kNodeTimeout) return;
  queue_.After(kNodeTimeout, [this, &node, incarnation = node.incarnation] {
    const auto requests = requests_;
    for (const auto& request : requests) {
      if (request->over || node.incarnation != incarnation) continue;
      if (request->decode == &node) {
        Retry(request);
      } else if (request->prefill == &node) {
        PrefillEnded(request, request->attempt, request->ticket.epoch(),
                     absl::UnavailableError("silent"));
      }
    }
  });
}

void HandoverWorld::SomeFault() {
  if (!faults_) return;
  Node& node = Below(2) == 0 ? static_cast<Node&>(*prefill_[Below(2)])
                             : static_cast<Node&>(*decode_[Below(2)]);
  const bool idle = node.up && queue_.now() >= node.frozen_until;
  const uint64_t kind = Below(10);
  if (kind < 3 && idle) {
    Crash(node);
  } else if (kind < 6 && idle) {
    Freeze(node, absl::Milliseconds(100 + static_cast<int64_t>(Below(6000))));
  } else if (kind < 9) {
    // One direction only: what it sends still arrives.
    ++tally_.clogs;
    node.clogged_until = queue_.now() + absl::Milliseconds(50 + static_cast<int64_t>(Below(4000)));
  } else {
    KillRouter();
  }
  queue_.After(absl::Milliseconds(100 + static_cast<int64_t>(Below(1500))),
               [this] { SomeFault(); });
}

void HandoverWorld::KillRouter() {
  ++tally_.router_deaths;
  ++router_;
  for (const auto& request : requests_) {
    request->over = true;
    ++tally_.failed;
    // Streams of running sequences break, or are missed by keepalive; a lease has nothing but its
    // time-out.
    if (request->decode == nullptr) continue;
    const bool noticed = Chance(0.5);
    CancelOn(*request->decode, request->ticket.id(), noticed ? NetworkDelay() : absl::Seconds(4),
             noticed);
  }
  requests_.clear();
}

void HandoverWorld::CancelOn(Decode& node, const std::string& ticket, absl::Duration delay,
                             bool release) {
  On(node, delay, [&node, ticket, release] {
    node.ended.insert(ticket);
    node.running.erase(ticket);
    if (!release) return;
    node.intake->Release(ticket);
    node.leases.erase(ticket);
  });
}

void HandoverWorld::Violated(const std::string& what) {
  if (violation_.empty()) {
    violation_ =
        absl::StrCat(what, " (after ", absl::FormatDuration(queue_.now() - absl::UnixEpoch()), ")");
  }
}

void HandoverWorld::Check() {
  for (const auto& node : decode_) {
    if (!node->up) continue;
    int32_t leased = 0, used = 0;
    for (const auto& [ticket, lease] : node->leases) {
      leased += lease.blocks;
      const bool thawing = queue_.now() < node->frozen_until + 2 * kExpiryPoll;
      if (!thawing && queue_.now() > lease.touched + kLeaseTimeout + 2 * kExpiryPoll) {
        Violated(absl::StrCat("I5: a lease on ", node->name, " outlives its time-out"));
      }
    }
    for (const auto& [ticket, blocks] : node->running) used += static_cast<int32_t>(blocks.size());
    const kvcache::BlockPool::Stats stats = node->pool->stats();
    if (stats.leased != leased || stats.used != used ||
        stats.free + stats.leased + stats.used != stats.total) {
      Violated(absl::StrCat("I1: ", node->name, " has ", stats.leased, " blocks leased and ",
                            stats.used, " used, but ", leased, " and ", used,
                            " are accounted for"));
    }
  }
  for (const auto& node : prefill_) {
    if (!node->up) continue;
    int32_t used = 0;
    for (const auto& [key, push] : node->pushes) used += static_cast<int32_t>(push.blocks.size());
    if (node->pool->stats().used != used) {
      Violated(absl::StrCat("I1: ", node->name, " has ", node->pool->stats().used,
                            " blocks used, but ", used, " are accounted for"));
    }
  }
}

std::string HandoverWorld::CheckAllIdle() {
  for (const auto& request : requests_) {
    if (!request->over) return absl::StrCat("I3: request ", request->id, " never ended");
  }
  for (const auto& node : decode_) {
    const kvcache::BlockPool::Stats stats = node->pool->stats();
    if (stats.free != stats.total) {
      return absl::StrCat("I8: ", node->name, " holds ", stats.leased, " leased and ", stats.used,
                          " used blocks after all is over");
    }
  }
  for (const auto& node : prefill_) {
    if (node->pool->stats().used > 0) {
      return absl::StrCat("I8: ", node->name, " holds blocks after all is over");
    }
  }
  return "";
}

std::string HandoverWorld::Run() {
  const absl::Time healed = queue_.now() + kTrouble;
  std::function<void()> arrivals = [this, &arrivals, healed] {
    if (queue_.now() >= healed) return;
    StartRequest();
    queue_.After(absl::Milliseconds(20 + static_cast<int64_t>(Below(400))), arrivals);
  };
  queue_.After(absl::ZeroDuration(), arrivals);
  queue_.After(absl::Milliseconds(500), [this] { SomeFault(); });
  queue_.After(kRenewInterval, [this] { RenewLeases(); });
  const auto run_until = [this](absl::Time until) {
    while (violation_.empty() && queue_.Step(until)) {
      ++tally_.events;
      Check();
    }
  };
  run_until(healed);
  faults_ = false;  // what is frozen or clogged now comes free by itself
  run_until(healed + kQuiet);
  if (violation_.empty()) violation_ = CheckAllIdle();
  // I12: the cluster still serves.
  const int64_t before = tally_.completed;
  if (violation_.empty()) StartRequest();
  run_until(queue_.now() + absl::Seconds(5));
  if (violation_.empty() && tally_.completed != before + 1) {
    Violated("I12: a request after everything has healed does not finish within 5 s");
  }
  return violation_;
}

}  // namespace baton::simulation
