#include "router/admission.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::router {
namespace {

constexpr absl::Duration kShareHalfLife = absl::Seconds(30);
constexpr double kForgottenShare = 1e-3;  // seconds
// A line that has been there for this long tells by its movement how long one waits in it.
constexpr absl::Duration kTellingLine = absl::Seconds(1);
// After this time the earlier half of its movement is forgotten.
constexpr absl::Duration kLongLine = absl::Seconds(10);
// Requests of the line that are looked at each time.
constexpr int kMostLooks = 64;
constexpr double kDisplacingRank = 1;  // seconds
constexpr double kLeastRetrySeconds = 0.1;
constexpr double kMostRetrySeconds = 60;

ApiError TurnedAway(const std::string& message, double retry_s) {
  ApiError error = Full(message);
  const double seconds = std::clamp(retry_s, kLeastRetrySeconds, kMostRetrySeconds);
  error.retry_after_ms = static_cast<int64_t>(std::ceil(1e3 * seconds));
  return error;
}

}  // namespace

Admission::Slot::Slot(Slot&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)), id_(other.id_) {}

Admission::Slot& Admission::Slot::operator=(Slot&& other) noexcept {
  if (this != &other) {
    Release();
    admission_ = std::exchange(other.admission_, nullptr);
    id_ = other.id_;
  }
  return *this;
}

void Admission::Slot::Release() {
  if (Admission* admission = std::exchange(admission_, nullptr)) admission->Leave(id_);
}

Admission::Admission(const Limits& limits, const Clock& clock, Look look)
    : limits_(limits), clock_(clock), look_(std::move(look)) {}

std::optional<ApiError> Admission::CheckServing() const {
  if (draining()) return NotReady("The server is shutting down.");
  return std::nullopt;
}

double Admission::Served(const std::string& tenant, absl::Time now) const {
  const auto it = shares_.find(tenant);
  if (it == shares_.end()) return 0;
  return it->second.served_s * std::exp2(-absl::FDivDuration(now - it->second.at, kShareHalfLife));
}

void Admission::Charge(const std::string& tenant, double seconds, absl::Time now) {
  const double served = Served(tenant, now) + seconds;
  shares_[tenant] = {served, now};
  // Names come from clients: those that matter no more are forgotten.
  if (shares_.size() > 2 * static_cast<size_t>(limits_.running_max + limits_.waiting_max)) {
    for (auto it = shares_.begin(); it != shares_.end();) {
      it = Served(it->first, now) < kForgottenShare ? shares_.erase(it) : std::next(it);
    }
  }
}

double Admission::Rank(const AdmissionAsk& ask, absl::Time now) const {
  return Served(ask.tenant, now) + ask.priority * absl::ToDoubleSeconds(limits_.priority_step) -
         limits_.ageing * absl::ToDoubleSeconds(now - ask.arrived);
}

std::vector<std::list<Admission::Waiting>::iterator> Admission::ByRank(absl::Time now) {
  std::vector<std::pair<double, std::list<Waiting>::iterator>> ranks;
  for (auto it = line_.begin(); it != line_.end(); ++it) ranks.emplace_back(Rank(it->ask, now), it);
  std::stable_sort(ranks.begin(), ranks.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::list<Waiting>::iterator> order;
  for (const auto& [rank, it] : ranks) order.push_back(it);
  return order;
}

bool Admission::MayOvertake(double rank, const Outlook& outlook, absl::Time now) {
  if (line_.empty()) return true;
  const Waiting& next = *ByRank(now).front();
  if (rank < Rank(next.ask, now)) return true;
  return !outlook.prefill_node && look_(next.ask).room == Outlook::Room::kNotForPrompt;
}

double Admission::WaitBefore(double rank, const Outlook& outlook, absl::Time now) const {
  double work_s = 0;
  double ahead = 0;
  for (const Waiting& other : line_) {
    if (Rank(other.ask, now) > rank) continue;
    work_s += other.work_s;
    ahead += 1;
  }
  double wait = work_s / std::max(outlook.workers, 1.0);
  const absl::Duration busy = now - busy_since_;
  if (busy >= kTellingLine) {
    // What holds the line up may also be decode: its movement tells.
    const double rate = begun_while_busy_ / absl::ToDoubleSeconds(busy);
    if (rate > 0) wait = std::max(wait, ahead / rate);
  }
  return wait;
}

void Admission::Begin(uint64_t id, const AdmissionAsk& ask, double work_s, absl::Time now) {
  running_.fetch_add(1);
  begun_[id] = {ask.tenant, now};
  Charge(ask.tenant, work_s, now);
  Count(AdmissionResult::kAdmitted);
  begun_while_busy_ += 1;
  if (now - busy_since_ > kLongLine) {
    // Its movement of late counts more.
    busy_since_ = now - (now - busy_since_) / 2;
    begun_while_busy_ /= 2;
  }
}

std::optional<ApiError> Admission::Wait(uint64_t id, AdmissionAsk ask, OnTurn on_turn,
                                        double work_s, double retry_s, absl::Time now,
                                        Calls* calls) {
  if (static_cast<int32_t>(line_.size()) >= limits_.waiting_max) {
    ApiError full = TurnedAway(
        absl::StrCat("The server is full: ", limits_.waiting_max, " requests wait."), retry_s);
    const auto last = std::max_element(
        line_.begin(), line_.end(),
        [&](const Waiting& a, const Waiting& b) { return Rank(a.ask, now) < Rank(b.ask, now); });
    // Who has been given less, or has priority, displaces; who has merely just come does not.
    if (last == line_.end() || Rank(ask, now) + kDisplacingRank > Rank(last->ask, now)) {
      Count(AdmissionResult::kLineFull);
      return full;
    }
    Count(AdmissionResult::kDisplaced);
    calls->emplace_back(std::move(last->on_turn), std::move(full));
    line_.erase(last);
    waiting_.fetch_sub(1);
  }
  if (line_.empty()) {
    busy_since_ = now;
    begun_while_busy_ = 0;
  }
  line_.push_back({id, std::move(ask), std::move(on_turn), work_s});
  waiting_.fetch_add(1);
  return std::nullopt;
}

std::optional<ApiError> Admission::Enter(AdmissionAsk ask, OnTurn on_turn, Slot* slot,
                                         bool* begins) {
  Calls calls;
  std::optional<ApiError> error;
  {
    MutexLock lock(mutex_);
    const absl::Time now = clock_.Now();
    Pump(now, &calls);
    const uint64_t id = next_id_++;
    const Outlook outlook = look_(ask);
    const double rank = Rank(ask, now);
    *begins = outlook.room == Outlook::Room::kYes && running_.load() < limits_.running_max &&
              MayOvertake(rank, outlook, now);
    const double wait_s = *begins ? 0 : WaitBefore(rank, outlook, now);
    const double ttft_s =
        wait_s + std::max(outlook.ttft_s, 0.0) + absl::ToDoubleSeconds(now - ask.arrived);
    if (ask.ttft_slo_s > 0 && ttft_s > ask.ttft_slo_s) {
      Count(AdmissionResult::kWouldMissSlo);
      error = TurnedAway(absl::StrFormat("The first token is expected after %.2f s, later than the "
                                         "objective of %.2f s (ttft_slo_ms).",
                                         ttft_s, ask.ttft_slo_s),
                         ttft_s - ask.ttft_slo_s);
    } else if (*begins) {
      Begin(id, ask, outlook.work_s, now);
    } else {
      error = Wait(id, std::move(ask), std::move(on_turn), outlook.work_s,
                   std::max(wait_s, outlook.ttft_s), now, &calls);
    }
    if (!error) *slot = Slot(this, id);
  }
  for (auto& [call, reason] : calls) call(std::move(reason));
  return error;
}

void Admission::Shed(absl::Time now, Calls* calls) {
  for (auto it = line_.begin(); it != line_.end();) {
    const double waited_s = absl::ToDoubleSeconds(now - it->ask.arrived);
    if (it->ask.ttft_slo_s <= 0 || waited_s < it->ask.ttft_slo_s) {
      ++it;
      continue;
    }
    Count(AdmissionResult::kMissedSlo);
    calls->emplace_back(
        std::move(it->on_turn),
        TurnedAway("The request has waited for as long as ttft_slo_ms allows.", waited_s));
    it = line_.erase(it);
    waiting_.fetch_sub(1);
  }
}

void Admission::Pump(absl::Time now, Calls* calls) {
  Shed(now, calls);
  // The nodes do not know yet of what begins here.
  double begun_s = 0;
  double begun = 0;
  bool prefill_nodes_busy = false;
  int looks = 0;
  for (const auto next : ByRank(now)) {
    if (running_.load() >= limits_.running_max || ++looks > kMostLooks) break;
    const Outlook outlook = look_(next->ask);
    if (outlook.room == Outlook::Room::kNotForDecode) break;
    // Others, which decode nodes would compute, need not wait for these.
    prefill_nodes_busy |= outlook.room == Outlook::Room::kNotForPrompt;
    if (outlook.room != Outlook::Room::kYes || (prefill_nodes_busy && outlook.prefill_node)) {
      continue;
    }
    const double workers = std::max(outlook.workers, 1.0);
    if (begun >= kPromptsAtOnce * workers &&
        begun_s > workers * absl::ToDoubleSeconds(limits_.window)) {
      break;
    }
    begun_s += outlook.work_s;
    begun += 1;
    Begin(next->id, next->ask, outlook.work_s, now);
    calls->emplace_back(std::move(next->on_turn), std::nullopt);
    line_.erase(next);
    waiting_.fetch_sub(1);
  }
  if (line_.empty()) busy_since_ = absl::InfiniteFuture();
}

Outlook::Room Admission::WaitsFor() {
  if (waiting_.load() == 0) return Outlook::Room::kYes;
  MutexLock lock(mutex_);
  if (line_.empty()) return Outlook::Room::kYes;
  return look_(ByRank(clock_.Now()).front()->ask).room;
}

void Admission::Poke() {
  if (waiting_.load() == 0) return;
  Calls calls;
  {
    MutexLock lock(mutex_);
    Pump(clock_.Now(), &calls);
  }
  for (auto& [call, error] : calls) call(std::move(error));
}

void Admission::Leave(uint64_t id) {
  Calls calls;
  {
    MutexLock lock(mutex_);
    const absl::Time now = clock_.Now();
    const auto begun = begun_.find(id);
    if (begun != begun_.end()) {
      // Its share of the cluster while it ran.
      const double seconds =
          absl::ToDoubleSeconds(now - begun->second.since) / static_cast<double>(begun_.size());
      Charge(begun->second.tenant, seconds, now);
      begun_.erase(begun);
      running_.fetch_sub(1);
    } else {
      const auto waiting = std::find_if(line_.begin(), line_.end(),
                                        [&](const Waiting& other) { return other.id == id; });
      if (waiting != line_.end()) {
        line_.erase(waiting);
        waiting_.fetch_sub(1);
      }
    }
    Pump(now, &calls);
  }
  for (auto& [call, error] : calls) call(std::move(error));
}

}  // namespace baton::router
