#include "router/cluster_view.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::router {
namespace {

// Names of former nodes that are kept for the gauge.
constexpr size_t kMaxGone = 256;

int64_t LongestContext(const std::vector<std::shared_ptr<const Node>>& nodes) {
  int64_t longest = 0;
  for (const auto& node : nodes) longest = std::max(longest, node->hello.context_length());
  return longest;
}

bool SomeServing(const std::vector<std::shared_ptr<const Node>>& nodes) {
  return std::any_of(nodes.begin(), nodes.end(),
                     [](const auto& node) { return !node->load.draining(); });
}

// The reports that come from now on contain what was sent before.
void ForgetSent(SentWork& sent) {
  sent.tokens_since_report.store(0);
  sent.sequences_since_report.store(0);
  sent.blocks_since_report.store(0);
}

}  // namespace

int64_t ClusterSnapshot::context_length(bool prefill_needed) const {
  const int64_t decode_context = LongestContext(decode);
  return prefill_needed ? std::min(LongestContext(prefill), decode_context) : decode_context;
}

std::string ClusterSnapshot::Missing(bool prefill_needed) const {
  const bool no_prefill = prefill_needed && !SomeServing(prefill);
  const bool no_decode = !SomeServing(decode);
  if (no_prefill && no_decode) return "No prefill node and no decode node is ready.";
  if (no_prefill) return "No prefill node is ready.";
  if (no_decode) return "No decode node is ready.";
  return "";
}

ClusterView::ClusterView(absl::Duration node_timeout, const Clock& clock, CacheIndex& caches,
                         ClientFactory factory, std::optional<uint64_t> model_fingerprint)
    : node_timeout_(node_timeout),
      clock_(clock),
      caches_(caches),
      factory_(std::move(factory)),
      model_fingerprint_(model_fingerprint),
      snapshot_(std::make_shared<const ClusterSnapshot>()) {}

ClusterView::~ClusterView() { LoseAll(); }

void ClusterView::LoseAll() {
  std::map<uint64_t, Registration> gone;
  {
    MutexLock lock(mutex_);
    gone.swap(registrations_);
    ended_ = true;
    Publish();
  }
  for (const auto& [id, registration] : gone) {
    caches_.Forget(id);
    registration.node->client->Lose();
  }
}

absl::StatusOr<uint64_t> ClusterView::Join(const v1::NodeHello& hello) {
  BATON_RETURN_IF_ERROR(CheckHello(hello));
  if (model_fingerprint_) BATON_RETURN_IF_ERROR(CheckModel(hello, *model_fingerprint_));
  BATON_ASSIGN_OR_RETURN(std::shared_ptr<NodeClient> client, factory_(hello));
  std::shared_ptr<NodeClient> replaced;
  uint64_t registration = 0;
  {
    MutexLock lock(mutex_);
    uint64_t old = 0;
    for (const auto& [id, other] : registrations_) {
      if (other.node->hello.node_id() == hello.node_id()) {
        old = id;
      } else if (absl::Status status = CheckCompatible(hello, other.node->hello); !status.ok()) {
        client->Lose();
        return status;
      }
    }
    if (old != 0) replaced = Remove(old, "replaced by a new registration");
    auto node = std::make_shared<Node>();
    node->hello = hello;
    node->client = std::move(client);
    gone_.erase(hello.node_id());
    cache_keys_.emplace(hello.layout().block_tokens(), hello.layout().model_fingerprint());
    registration = next_registration_++;
    node->registration = registration;
    registrations_[registration] = {std::move(node), clock_.Now()};
    Publish();
  }
  if (replaced) replaced->Lose();
  spdlog::info("node {} joined: {} at {}, {}", hello.node_id(), v1::NodeRole_Name(hello.role()),
               hello.address(), hello.device());
  return registration;
}

absl::Status ClusterView::Report(uint64_t registration, const v1::NodeLoad& load) {
  MutexLock lock(mutex_);
  const auto it = registrations_.find(registration);
  if (it == registrations_.end()) {
    return absl::NotFoundError("the registration has ended: silent for too long, or replaced");
  }
  auto node = std::make_shared<Node>(*it->second.node);
  node->load = load;
  ForgetSent(node->client->sent());
  const absl::Time now = clock_.Now();
  if (load.unix_ms() > 0) node->clock_skew = absl::FromUnixMillis(load.unix_ms()) - absl::Now();
  if (load.sequences_running() > 0 && node->hello.role() == v1::NODE_ROLE_DECODE) {
    node->client->rates().step.Observe(kStepBaseSequences + load.sequences_running(),
                                       load.step_seconds(), now);
  }
  it->second.node = std::move(node);
  it->second.last_heard = now;
  Publish();
  return absl::OkStatus();
}

bool ClusterView::ReportCache(uint64_t registration, const v1::CacheEvents& events) {
  const bool complete = caches_.Apply(
      registration,
      {.sequence = events.sequence(),
       .reset = events.reset(),
       .stored = absl::MakeConstSpan(events.stored().data(), events.stored_size()),
       .removed = absl::MakeConstSpan(events.removed().data(), events.removed_size())});
  // Outside of the lock, because a reset takes a while; a registration that ended meanwhile has
  // been forgotten before this came.
  MutexLock lock(mutex_);
  if (registrations_.count(registration) == 0) caches_.Forget(registration);
  return complete;
}

void ClusterView::AskForRole(uint64_t registration, v1::NodeRole role) {
  MutexLock lock(mutex_);
  const auto it = registrations_.find(registration);
  if (it != registrations_.end()) it->second.wanted_role = role;
}

v1::NodeRole ClusterView::WantedRole(uint64_t registration) const {
  MutexLock lock(mutex_);
  const auto it = registrations_.find(registration);
  return it == registrations_.end() ? v1::NODE_ROLE_UNSPECIFIED : it->second.wanted_role;
}

void ClusterView::Leave(uint64_t registration) {
  std::shared_ptr<NodeClient> gone;
  {
    MutexLock lock(mutex_);
    gone = Remove(registration, "its stream ended");
    if (gone) Publish();
  }
  if (gone) gone->Lose();
}

void ClusterView::ExpireSilent() {
  std::vector<std::shared_ptr<NodeClient>> gone;
  {
    MutexLock lock(mutex_);
    const absl::Time oldest = clock_.Now() - node_timeout_;
    std::vector<uint64_t> silent;
    for (const auto& [id, registration] : registrations_) {
      if (registration.last_heard < oldest) silent.push_back(id);
    }
    for (const uint64_t id : silent) gone.push_back(Remove(id, "silent for too long"));
    if (!silent.empty()) Publish();
  }
  for (const auto& client : gone) client->Lose();
}

std::shared_ptr<const ClusterSnapshot> ClusterView::snapshot() const {
  MutexLock lock(mutex_);
  return snapshot_;
}

std::shared_ptr<NodeClient> ClusterView::Remove(uint64_t registration, absl::string_view why) {
  const auto it = registrations_.find(registration);
  if (it == registrations_.end()) return nullptr;
  std::shared_ptr<const Node> node = std::move(it->second.node);
  registrations_.erase(it);
  caches_.Forget(registration);
  if (registrations_.empty()) cache_keys_.clear();
  if (gone_.size() < kMaxGone) gone_[node->hello.node_id()] = node->hello.role();
  spdlog::warn("node {} is gone: {}", node->hello.node_id(), std::string(why));
  return node->client;
}

void ClusterView::Publish() {
  auto next = std::make_shared<ClusterSnapshot>();
  for (const auto& [id, registration] : registrations_) {
    auto& list =
        registration.node->hello.role() == v1::NODE_ROLE_PREFILL ? next->prefill : next->decode;
    list.push_back(registration.node);
  }
  next->caches = cache_keys_;
  next->gone = gone_;
  next->ended = ended_;
  snapshot_ = std::move(next);
}

}  // namespace baton::router
