// What the router measures, under names of its own and under those that vLLM made customary.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "router/admission.h"
#include "router/cluster_view.h"
#include "router/metrics.h"
#include "router/role_balancer.h"
#include "router/scheduler.h"

namespace baton::router {

// How a request ended, as counted.
enum class RequestResult : uint8_t { kStop, kLength, kAbort, kError, kRefused };
inline constexpr size_t kRequestResults = 5;

// Thread-safe.
struct RouterMetrics {
  RouterMetrics();

  // Seconds. From the arrival of a request to its first token; from the first token to the second,
  // which shows the hand-over; between later tokens; from arrival to the end.
  Histogram first_token;
  Histogram second_token;
  Histogram inter_token;
  Histogram end_to_end;
  // As the nodes measured them.
  Histogram queue;
  Histogram prefill;
  Histogram transfer_exposed;
  Histogram decode;
  // What the router adds: before a prompt is on its way to a prefill node, and per token from the
  // node's socket to the client's.
  Histogram dispatch;
  Histogram relay;

  // How far the scheduler's estimates were off: |estimated - measured|, seconds.
  Histogram first_token_error;
  Histogram inter_token_error;

  // From the arrival of a request that had to wait in line until it began.
  Histogram admission_wait;
  // Sequences with an objective: [1] met it, [0] did not.
  std::array<Counter, 2> ttft_objective;
  std::array<Counter, 2> tpot_objective;

  Counter prompt_tokens;
  Counter generation_tokens;
  std::array<Counter, kRequestResults> requests;
  Counter prefill_retries;
  Counter decode_retries;
  // Requests whose spans went to otlp_endpoint, and those whose spans did not.
  Counter traces_exported;
  Counter traces_dropped;
  std::array<Counter, kPlaceReasons> placements;     // by PlaceReason
  std::array<Counter, kRoleMoveReasons> role_moves;  // by RoleMoveReason
  // Sequences before and after their first token.
  std::atomic<int64_t> waiting{0};
  std::atomic<int64_t> running{0};

  // The exposition, with the load of every node of `cluster`, the size of the cache index and the
  // line of requests.
  std::string Exposition(const ClusterSnapshot& cluster, const CacheIndex::Stats& caches,
                         const Admission& admission, absl::string_view model) const;

 private:
  void WriteHistograms(absl::string_view model, MetricsText* text) const;
  void WriteAdmission(const Admission& admission, MetricsText* text) const;
  void WriteScheduling(const CacheIndex::Stats& caches, MetricsText* text) const;
  void WriteScalars(const ClusterSnapshot& cluster, absl::string_view model,
                    MetricsText* text) const;
};

// The part of the exposition that is about nodes.
void WriteNodeMetrics(const ClusterSnapshot& cluster, MetricsText* text);

}  // namespace baton::router
