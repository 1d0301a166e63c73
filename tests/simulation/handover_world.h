// A cluster in one thread on virtual time: two prefill nodes, two decode nodes, a router and
// faults, all from one seed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "decode_node/kv_intake.h"
#include "kvcache/block_pool.h"
#include "kvcache/kv_store.h"
#include "kvcache/transfer/kv_receiver.h"
#include "kvcache/transfer/push_state.h"
#include "tests/fakes/memory_device.h"
#include "tests/simulation/event_queue.h"

namespace baton::simulation {

// Deliberately broken variants: each must be found.
enum class Broken : uint8_t {
  kNothing,
  kLeasesNeverExpire,  // nobody calls KvIntake::Expire
  kEpochUnchecked,     // frames of an older prefill node count as the newer one's
  kChecksumUnchecked,  // damaged payloads arrive with a checksum that fits
  kCommitWithHoles,    // a commit counts what never came as present
  kRenewedForEver,     // the router renews leases of requests that are over
};

// What happened, so that a test can tell that its faults took effect.
struct Tally {
  int64_t events = 0, requests = 0, completed = 0, failed = 0, aborted = 0;
  int64_t crashes = 0, freezes = 0, clogs = 0, router_deaths = 0;
  int64_t damaged = 0, duplicated = 0, reordered = 0, refused = 0, expired = 0, takeovers = 0;
};

class HandoverWorld {
 public:
  HandoverWorld(uint64_t seed, Broken broken);
  ~HandoverWorld();

  // Runs a minute of requests and faults, heals everything, and lets the rest come to its end.
  // Empty when every invariant held; otherwise the first that did not.
  std::string Run();
  const Tally& tally() const { return tally_; }

 private:
  struct Node;
  struct Prefill;
  struct Decode;
  struct Request;
  class Wire;
  class Stream;
  class Sink;

  // Lets `event` happen on a node after `delay`: not if it has died meanwhile, later if it is
  // frozen.
  void On(Node& node, absl::Duration delay, std::function<void()> event);
  // The same for an earlier life of the node, whose events never reach a later one.
  void OnLife(Node& node, uint64_t incarnation, absl::Duration delay, std::function<void()> event);
  void PutOff(Node& node, uint64_t incarnation, absl::Duration delay, uint64_t place,
              std::function<void()> event);
  void Crash(Node& node);
  void Freeze(Node& node, absl::Duration time);
  void SomeFault();
  void StartDecode(Decode& node);
  void StartPrefill(Prefill& node);
  void ExpireLeases(Decode& node);

  void StartRequest();
  void Attempt(const std::shared_ptr<Request>& request);
  void Leased(const std::shared_ptr<Request>& request, Decode& node);
  void PrefillFor(const std::shared_ptr<Request>& request);
  void SendChunks(const std::shared_ptr<Request>& request, Prefill& node, uint64_t epoch);
  // By request, and by attempt and epoch.
  using PushKey = std::pair<uint64_t, uint64_t>;
  void RunPush(Prefill& node, uint64_t life, const PushKey& key,
               const std::shared_ptr<kvcache::PushState>& state);
  // Computes block by block, each sent as it is ready, and commits.
  void Compute(const std::shared_ptr<Request>& request, Prefill& node, const PushKey& key,
               uint64_t epoch, const std::vector<int32_t>& ids);
  void PrefillEnded(const std::shared_ptr<Request>& request, uint64_t attempt, uint64_t epoch,
                    const absl::Status& status);
  void Committed(const std::shared_ptr<Request>& request, Decode& node, uint64_t attempt,
                 std::vector<kvcache::BlockRef> blocks, const v1::Token& token);
  void Retry(const std::shared_ptr<Request>& request);
  // Ends what nodes do for a request.
  void Drop(const Request& request);
  void CancelOn(Decode& node, const std::string& ticket, absl::Duration delay, bool release);
  void End(const std::shared_ptr<Request>& request, int64_t* counter);
  void RenewLeases();
  void KillRouter();

  // Invariants.
  void Check();
  void Violated(const std::string& what);
  std::string CheckAllIdle();

  absl::Duration NetworkDelay();
  bool Chance(double probability) { return Uniform() < probability; }
  double Uniform() { return static_cast<double>(rng_.Next() >> 11) * 0x1p-53; }
  uint64_t Below(uint64_t limit) { return rng_.Next() % limit; }

  SeededRng rng_;
  const Broken broken_;
  EventQueue queue_;
  Tally tally_;
  std::string violation_;
  bool faults_ = true;
  fakes::MemoryDevice device_;
  std::vector<std::unique_ptr<Prefill>> prefill_;
  std::vector<std::unique_ptr<Decode>> decode_;
  std::vector<std::shared_ptr<Request>> requests_;  // that this router knows and that run
  uint64_t streams_ = 0;                            // opened so far
  uint64_t router_ = 1;                             // grows when the router dies
};

}  // namespace baton::simulation
