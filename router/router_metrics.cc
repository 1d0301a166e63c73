#include "router/router_metrics.h"

#include <vector>

namespace baton::router {
namespace {

// vLLM's bounds with finer ones in front: small models on fast chips stay below its first bucket.
constexpr double kLatencyBounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06,
                                     0.08,   0.1,   0.25,   0.5,   0.75, 1,    2.5,  5,
                                     7.5,    10,    20,     40,    80,   160,  640};
constexpr double kTokenBounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05,
                                   0.075,  0.1,   0.15,   0.2,   0.3,    0.4,  0.5,   0.75,
                                   1,      2.5,   5,      7.5,   10,     20,   40,    80};
constexpr double kRequestBounds[] = {0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.8, 1,
                                     1.5,  2,     2.5,  5,   10,  15,  20,  30,
                                     40,   50,    60,   120, 240, 480, 960, 1920};
constexpr double kOverheadBounds[] = {0.00005, 0.0001, 0.0002, 0.0005, 0.001,
                                      0.002,   0.005,  0.01,   0.05,   0.1};
constexpr absl::string_view kResultNames[] = {"stop", "length", "abort", "error", "refused"};

struct NamedHistogram {
  absl::string_view own_name;
  absl::string_view vllm_name;  // empty: none is customary
  absl::string_view help;
  const Histogram* histogram;
};

void WriteAll(const std::vector<NamedHistogram>& histograms, absl::string_view model,
              MetricsText* text) {
  for (const NamedHistogram& entry : histograms) {
    text->Family(entry.own_name, "histogram", entry.help);
    text->Samples({}, *entry.histogram);
    if (entry.vllm_name.empty()) continue;
    text->Family(entry.vllm_name, "histogram", entry.help);
    text->Samples({{"model_name", model}, {"engine", "0"}}, *entry.histogram);
  }
}

double KvUsage(const ClusterSnapshot& cluster) {
  double total = 0;
  double taken = 0;
  for (const auto& node : cluster.decode) {
    total += node->load.blocks_total();
    taken += node->load.blocks_used() + node->load.blocks_leased();
  }
  return total > 0 ? taken / total : 0;
}

}  // namespace

RouterMetrics::RouterMetrics()
    : first_token(kLatencyBounds),
      second_token(kLatencyBounds),
      inter_token(kTokenBounds),
      end_to_end(kRequestBounds),
      queue(kLatencyBounds),
      prefill(kLatencyBounds),
      transfer_exposed(kTokenBounds),
      decode(kRequestBounds),
      dispatch(kOverheadBounds),
      relay(kOverheadBounds),
      first_token_error(kLatencyBounds),
      inter_token_error(kTokenBounds),
      admission_wait(kLatencyBounds) {}

void RouterMetrics::WriteHistograms(absl::string_view model, MetricsText* text) const {
  WriteAll(
      {{"baton_time_to_first_token_seconds", "vllm:time_to_first_token_seconds",
        "From the arrival of a request to its first token", &first_token},
       {"baton_time_to_second_token_seconds", "",
        "From the arrival of a request to its second token", &second_token},
       {"baton_inter_token_latency_seconds", "vllm:inter_token_latency_seconds",
        "Between two tokens, the first gap included", &inter_token},
       {"baton_request_seconds", "vllm:e2e_request_latency_seconds",
        "From the arrival of a request to its end", &end_to_end},
       {"baton_queue_seconds", "vllm:request_queue_time_seconds",
        "Waiting for prefill to begin, as the prefill node measured it", &queue},
       {"baton_prefill_seconds", "vllm:request_prefill_time_seconds",
        "From the first prefill step to the first token, as the prefill node measured it",
        &prefill},
       {"baton_transfer_exposed_seconds", "",
        "From the end of prefill compute to the acknowledged hand-over", &transfer_exposed},
       {"baton_decode_seconds", "vllm:request_decode_time_seconds",
        "From the first decode step to the last token, as the decode node measured it", &decode},
       {"baton_router_dispatch_seconds", "",
        "Router: from the arrival of a request until its prompt is on the way to a prefill node",
        &dispatch},
       {"baton_router_relay_seconds", "",
        "Router: from a token's arrival from a node until it is handed to the client's stream",
        &relay},
       {"baton_first_token_estimate_error_seconds", "",
        "How far the scheduler's estimate of the time from dispatch to the first token was off",
        &first_token_error},
       {"baton_inter_token_estimate_error_seconds", "",
        "How far the scheduler's estimate of the mean time between tokens was off",
        &inter_token_error},
       {"baton_admission_wait_seconds", "",
        "From the arrival of a request that had to wait in line until it began", &admission_wait}},
      model, text);
}

void RouterMetrics::WriteAdmission(const Admission& admission, MetricsText* text) const {
  constexpr absl::string_view kResults[kAdmissionResults] = {
      "admitted", "line_full", "would_miss_slo", "displaced", "missed_slo"};
  text->Family("baton_admission_total", "counter",
               "Requests by what admission decided; all but admitted were answered 429");
  for (size_t i = 0; i < kAdmissionResults; ++i) {
    text->Sample({{"result", kResults[i]}},
                 static_cast<double>(admission.count(static_cast<AdmissionResult>(i))));
  }
  text->Family("baton_admission_waiting", "gauge", "Requests in line");
  text->Sample({}, admission.waiting());
  text->Family("baton_objectives_total", "counter",
               "Sequences with an objective by whether they met it");
  for (const bool met : {true, false}) {
    const absl::string_view name = met ? "true" : "false";
    text->Sample({{"objective", "ttft"}, {"met", name}},
                 static_cast<double>(ttft_objective[met].value()));
    text->Sample({{"objective", "tpot"}, {"met", name}},
                 static_cast<double>(tpot_objective[met].value()));
  }
}

void RouterMetrics::WriteScheduling(const CacheIndex::Stats& caches, MetricsText* text) const {
  text->Family("baton_placements_total", "counter",
               "Attempts by where their prompt was computed (prefill or decode node) and why");
  for (size_t i = 0; i < kPlaceReasons; ++i) {
    const PlaceReason reason = static_cast<PlaceReason>(i);
    text->Sample(
        {{"prefill", IsLocal(reason) ? "decode" : "prefill"}, {"reason", PlaceReasonName(reason)}},
        static_cast<double>(placements[i].value()));
  }
  text->Family("baton_role_moves_total", "counter",
               "Nodes of role any that were asked to change their role, by the new one and why");
  for (size_t i = 0; i < kRoleMoveReasons; ++i) {
    const RoleMoveReason reason = static_cast<RoleMoveReason>(i);
    text->Sample(
        {{"to", ToPrefill(reason) ? "prefill" : "decode"}, {"reason", RoleMoveReasonName(reason)}},
        static_cast<double>(role_moves[i].value()));
  }
  text->Family("baton_cache_index_blocks", "gauge",
               "Cached blocks that the router knows of, over all nodes");
  text->Sample({}, static_cast<double>(caches.entries));
  text->Family("baton_cache_index_gaps_total", "counter",
               "Times that a node's cache events lost a message");
  text->Sample({}, static_cast<double>(caches.gaps));
  text->Family("baton_cache_index_ignored_total", "counter",
               "Blocks that cache_index_entries left no room for");
  text->Sample({}, static_cast<double>(caches.ignored));
}

void RouterMetrics::WriteScalars(const ClusterSnapshot& cluster, absl::string_view model,
                                 MetricsText* text) const {
  const std::array<Label, 2> vllm = {Label{"model_name", model}, Label{"engine", "0"}};
  const auto both = [&](absl::string_view own, absl::string_view theirs, absl::string_view type,
                        absl::string_view help, double value) {
    text->Family(own, type, help);
    text->Sample({}, value);
    text->Family(theirs, type, help);
    text->Sample(vllm, value);
  };
  both("baton_sequences_running", "vllm:num_requests_running", "gauge",
       "Sequences that have their first token", static_cast<double>(running.load()));
  both("baton_sequences_waiting", "vllm:num_requests_waiting", "gauge",
       "Sequences before their first token", static_cast<double>(waiting.load()));
  both("baton_kv_usage", "vllm:kv_cache_usage_perc", "gauge",
       "Part of the decode nodes' KV blocks that is taken, 0 to 1", KvUsage(cluster));
  both("baton_prompt_tokens_total", "vllm:prompt_tokens_total", "counter", "Prompt tokens",
       static_cast<double>(prompt_tokens.value()));
  both("baton_generation_tokens_total", "vllm:generation_tokens_total", "counter",
       "Generated tokens", static_cast<double>(generation_tokens.value()));
  text->Family("baton_requests_total", "counter", "Requests by outcome");
  for (size_t i = 0; i < kRequestResults; ++i) {
    text->Sample({{"outcome", kResultNames[i]}}, static_cast<double>(requests[i].value()));
  }
  text->Family("vllm:request_success_total", "counter", "Finished requests by reason");
  for (size_t i = 0; i < kRequestResults - 1; ++i) {
    text->Sample({{"model_name", model}, {"engine", "0"}, {"finished_reason", kResultNames[i]}},
                 static_cast<double>(requests[i].value()));
  }
  text->Family("baton_retries_total", "counter",
               "Attempts on another node, by the role that failed");
  text->Sample({{"role", "prefill"}}, static_cast<double>(prefill_retries.value()));
  text->Sample({{"role", "decode"}}, static_cast<double>(decode_retries.value()));
  text->Family("baton_traces_total", "counter",
               "Ended requests whose spans went to otlp_endpoint, and those whose spans did not");
  text->Sample({{"result", "exported"}}, static_cast<double>(traces_exported.value()));
  text->Sample({{"result", "dropped"}}, static_cast<double>(traces_dropped.value()));
}

std::string RouterMetrics::Exposition(const ClusterSnapshot& cluster,
                                      const CacheIndex::Stats& caches, const Admission& admission,
                                      absl::string_view model) const {
  MetricsText text;
  WriteHistograms(model, &text);
  WriteScalars(cluster, model, &text);
  WriteScheduling(caches, &text);
  WriteAdmission(admission, &text);
  WriteNodeMetrics(cluster, &text);
  return text.Take();
}

}  // namespace baton::router
