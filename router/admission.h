// Who may begin now, who waits, who is turned away: before any work is done for a request.
//
// A request that the cluster can begin at once begins. Others wait in one bounded line, in the
// order of their ranks; a request that would miss its objective there, or for which the line is
// full, is told so at once. Nodes' own queues stay short, so that the order is decided here and
// late. docs/scheduling.md has the formulas.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "router/api_error.h"
#include "router/cache_index.h"

namespace baton::router {

// What admission knows of a request.
struct AdmissionAsk {
  std::string tenant;    // shares are fair between tenants
  int32_t priority = 0;  // lower goes first
  int64_t prompt_tokens = 0;
  std::vector<PrefixMatch> matches;  // of its first prompt
  double ttft_slo_s = 0;             // 0: none
  double tpot_slo_s = 0;
  absl::Time arrived;
};

// How a request would fare if it began now.
struct Outlook {
  enum class Room : uint8_t {
    kYes,
    kNotForPrompt,  // the node that would compute its prompt is busy
    kNotForDecode,  // no blocks, or it would slow others beyond tpot_slo_s
  };
  Room room = Room::kYes;
  bool prefill_node = true;  // computes its prompt, not a decode node
  double ttft_s = -1;        // from then to its first token; negative: not known
  double work_s = 0;         // of the node that computes its prompt
  double workers = 1;        // nodes that share such work
};

// Prompts that a node computes side by side: so many may be there however long they take.
inline constexpr int64_t kPromptsAtOnce = 4;

// What becomes of requests, as counted.
enum class AdmissionResult : uint8_t {
  kAdmitted,
  kLineFull,
  kWouldMissSlo,
  kDisplaced,
  kMissedSlo
};
inline constexpr size_t kAdmissionResults = 5;

// Thread-safe. Slots must not outlive it.
class Admission {
 public:
  struct Limits {
    int32_t running_max = 512;  // requests that have begun
    int32_t waiting_max = 256;  // requests in line
    // One step of priority is worth so much waiting.
    absl::Duration priority_step = absl::Seconds(10);
    double ageing = 1;  // seconds of rank for each second in line
    // Work that each node may have before it, beyond which requests wait here.
    absl::Duration window = absl::Milliseconds(500);
  };
  using Look = std::function<Outlook(const AdmissionAsk&)>;
  // Called once, on any thread and outside of all locks, when a waiting request may begin (nullopt)
  // or must not.
  using OnTurn = std::function<void(std::optional<ApiError>)>;

  // `look` is called under this object's lock and must not call back. `clock` must outlive it.
  Admission(const Limits& limits, const Clock& clock, Look look);

  // A request's place: in line, then in the cluster. Given back when destroyed.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept;
    Slot& operator=(Slot&& other) noexcept;
    ~Slot() { Release(); }
    void Release();

   private:
    friend class Admission;
    Slot(Admission* admission, uint64_t id) : admission_(admission), id_(id) {}
    Admission* admission_ = nullptr;
    uint64_t id_ = 0;
  };

  // Before anything is done for a request: 503 after StartDraining.
  std::optional<ApiError> CheckServing() const;
  // Takes a place. An error: turned away with 429 (retry_after_ms is when it would fare better) or
  // 503. Otherwise `*begins` says whether the request may begin at once; if not, `on_turn` follows,
  // unless the slot is released first.
  std::optional<ApiError> Enter(AdmissionAsk ask, OnTurn on_turn, Slot* slot, bool* begins)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Something changed that may let waiting requests begin. Cheap while none waits.
  void Poke() ABSL_LOCKS_EXCLUDED(mutex_);

  void StartDraining() { draining_.store(true); }
  bool draining() const { return draining_.load(); }
  // Requests that hold a place, waiting ones included.
  int32_t held() const { return waiting_.load() + running_.load(); }
  int32_t running() const { return running_.load(); }
  int32_t waiting() const { return waiting_.load(); }
  // What the next one in line waits for; kYes where nobody does.
  Outlook::Room WaitsFor() ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t count(AdmissionResult result) const {
    return results_[static_cast<size_t>(result)].load();
  }

 private:
  struct Waiting {
    uint64_t id = 0;
    AdmissionAsk ask;
    OnTurn on_turn;
    double work_s = 0;
  };
  struct Running {
    std::string tenant;
    absl::Time since;
  };
  // What a tenant was given lately, seconds of the cluster; halves every kShareHalfLife.
  struct Share {
    double served_s = 0;
    absl::Time at;
  };
  using Calls = std::vector<std::pair<OnTurn, std::optional<ApiError>>>;

  double Served(const std::string& tenant, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Charge(const std::string& tenant, double seconds, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lower goes first.
  double Rank(const AdmissionAsk& ask, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The line by rank, the next first.
  std::vector<std::list<Waiting>::iterator> ByRank(absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Seconds until those of the line that go before `rank` have begun.
  double WaitBefore(double rank, const Outlook& outlook, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether a request of this outlook may begin though others wait: those with lower ranks wait for
  // something else.
  bool MayOvertake(double rank, const Outlook& outlook, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts a request at the line's end. Where the line is full, the error is for it, or it displaces
  // another, who hears of it in `calls`.
  std::optional<ApiError> Wait(uint64_t id, AdmissionAsk ask, OnTurn on_turn, double work_s,
                               double retry_s, absl::Time now, Calls* calls)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Begin(uint64_t id, const AdmissionAsk& ask, double work_s, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells those who cannot be in time any more.
  void Shed(absl::Time now, Calls* calls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets those begin for whom there is room, after Shed.
  void Pump(absl::Time now, Calls* calls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);
  void Count(AdmissionResult result) { results_[static_cast<size_t>(result)].fetch_add(1); }

  const Limits limits_;
  const Clock& clock_;
  const Look look_;
  Mutex mutex_;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::list<Waiting> line_ ABSL_GUARDED_BY(mutex_);  // in order of arrival
  std::map<uint64_t, Running> begun_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Share> shares_ ABSL_GUARDED_BY(mutex_);
  absl::Time busy_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // line not empty
  double begun_while_busy_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<int32_t> running_{0};
  std::atomic<int32_t> waiting_{0};
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> results_[kAdmissionResults] = {};
};

}  // namespace baton::router
