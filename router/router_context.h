// What every request needs of the router. Made once; outlives all requests.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/rng.h"
#include "models/text/tokenizer.h"
#include "proto/config.pb.h"
#include "router/admission.h"
#include "router/api/structured_output.h"
#include "router/api/turn_format.h"
#include "router/cache_index.h"
#include "router/cluster_view.h"
#include "router/event_loops.h"
#include "router/lease_renewer.h"
#include "router/request_log.h"
#include "router/retry_budget.h"
#include "router/router_metrics.h"
#include "router/scheduler.h"

namespace baton::router {

struct RouterContext {
  const v1::RouterConfig& config;
  const models::text::Tokenizer& tokenizer;
  std::string model_id;          // as clients name it
  std::string model_root;        // file name of the model
  int64_t model_context_length;  // of the model file; nodes may be configured to less
  int64_t created_s;             // start of the process, seconds since 1970
  EventLoops& loops;
  ClusterView& cluster;
  const CacheIndex& caches;
  SchedulePolicy policy;
  Admission& admission;
  LeaseRenewer& leases;
  RouterMetrics& metrics;
  Rng& rng;  // thread-safe
  const Clock& clock;
  GrammarCheck& grammars;
  const TurnFormat& turn_format;  // how the model writes reasoning and calls
  RequestLog& requests;
  RetryBudget retry_budget;
  std::atomic<uint64_t> turn{0};  // grows with each pick

  // Whether nothing can be served without a prefill node.
  bool NeedsPrefillNodes() const { return policy.disaggregate == Disaggregate::kAlways; }

  // The most tokens of one sequence: what the nodes take, or what the model says while there are
  // none.
  int64_t ContextLength() const {
    const int64_t nodes = cluster.snapshot()->context_length(NeedsPrefillNodes());
    return nodes > 0 ? nodes : model_context_length;
  }
};

}  // namespace baton::router
