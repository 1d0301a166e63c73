// What the nodes say of themselves, one sample a node.
#include <map>
#include <string>
#include <vector>

#include "router/router_metrics.h"

namespace baton::router {
namespace {

struct NodeValue {
  absl::string_view name;
  absl::string_view type;
  absl::string_view help;
  double (*value)(const v1::NodeLoad&);
};
constexpr NodeValue kNodeValues[] = {
    {"baton_node_draining", "gauge", "1 while a node finishes its work before it goes",
     [](const v1::NodeLoad& load) { return load.draining() ? 1.0 : 0.0; }},
    {"baton_node_sequences_running", "gauge", "Sequences in a node's current batch",
     [](const v1::NodeLoad& load) { return double(load.sequences_running()); }},
    {"baton_node_sequences_waiting", "gauge", "Sequences that wait on a node",
     [](const v1::NodeLoad& load) { return double(load.sequences_waiting()); }},
    {"baton_node_prompt_tokens_queued", "gauge", "Prompt tokens waiting or partly computed",
     [](const v1::NodeLoad& load) { return double(load.prompt_tokens_queued()); }},
    {"baton_node_prefill_tokens_per_second", "gauge", "Measured rate of prefill",
     [](const v1::NodeLoad& load) { return load.prefill_tokens_per_s(); }},
    {"baton_node_step_seconds", "gauge", "Measured time of a decode step",
     [](const v1::NodeLoad& load) { return load.step_seconds(); }},
    {"baton_node_tokens_generated_total", "counter", "Tokens generated since the node's start",
     [](const v1::NodeLoad& load) { return double(load.tokens_generated()); }},
    {"baton_node_prompt_tokens_computed_total", "counter",
     "Prompt tokens computed since the node's start",
     [](const v1::NodeLoad& load) { return double(load.prompt_tokens_computed()); }},
    {"baton_node_prompt_tokens_cached_total", "counter",
     "Prompt tokens found in the prefix cache since the node's start",
     [](const v1::NodeLoad& load) { return double(load.prompt_tokens_cached()); }},
    {"baton_node_draft_tokens_total", "counter", "Tokens computed ahead of their turn",
     [](const v1::NodeLoad& load) { return double(load.tokens_drafted()); }},
    {"baton_node_draft_tokens_kept_total", "counter", "Of those, the ones that were then drawn",
     [](const v1::NodeLoad& load) { return double(load.drafts_kept()); }},
    {"baton_node_prompt_tokens_fetched_total", "counter", "Prompt tokens fetched from other nodes",
     [](const v1::NodeLoad& load) { return double(load.prompt_tokens_fetched()); }},
    {"baton_node_kv_fetched_bytes_total", "counter", "Keys and values fetched from other nodes",
     [](const v1::NodeLoad& load) { return double(load.kv_bytes_fetched()); }},
    {"baton_node_kv_sent_bytes_total", "counter", "Keys and values sent",
     [](const v1::NodeLoad& load) { return double(load.kv_bytes_sent()); }},
    {"baton_node_kv_received_bytes_total", "counter", "Keys and values received",
     [](const v1::NodeLoad& load) { return double(load.kv_bytes_received()); }},
    {"baton_node_steps_total", "counter", "Steps of a node's engine since the node's start",
     [](const v1::NodeLoad& load) { return double(load.steps()); }},
    {"baton_node_kv_frames_refused_total", "counter", "KV frames that a node refused",
     [](const v1::NodeLoad& load) { return double(load.kv_frames_refused()); }},
};

std::vector<const Node*> AllNodes(const ClusterSnapshot& cluster) {
  std::vector<const Node*> nodes;
  for (const auto& node : cluster.prefill) nodes.push_back(node.get());
  for (const auto& node : cluster.decode) nodes.push_back(node.get());
  return nodes;
}

absl::string_view RoleName(v1::NodeRole role) {
  return role == v1::NODE_ROLE_PREFILL ? "prefill" : "decode";
}

absl::string_view RoleOf(const Node& node) { return RoleName(node.hello.role()); }

void WriteInfo(const std::vector<const Node*>& nodes, MetricsText* text) {
  text->Family("baton_node_info", "gauge", "1; what a node is: its software, device and address");
  for (const Node* node : nodes) {
    text->Sample({{"node", node->hello.node_id()},
                  {"role", RoleOf(*node)},
                  {"version", node->hello.version()},
                  {"device", node->hello.device()},
                  {"address", node->hello.address()}},
                 1);
  }
  text->Family("baton_node_clock_skew_seconds", "gauge",
               "A node's clock against the router's, the way of its report included");
  for (const Node* node : nodes) {
    text->Sample({{"node", node->hello.node_id()}, {"role", RoleOf(*node)}},
                 absl::ToDoubleSeconds(node->clock_skew));
  }
}

void WriteBlocks(const std::vector<const Node*>& nodes, MetricsText* text) {
  text->Family("baton_node_kv_blocks", "gauge",
               "KV blocks of a node: free, used by running sequences, leased for a hand-over, "
               "cached, total");
  for (const Node* node : nodes) {
    const v1::NodeLoad& load = node->load;
    const std::pair<absl::string_view, int32_t> states[] = {{"free", load.blocks_free()},
                                                            {"used", load.blocks_used()},
                                                            {"leased", load.blocks_leased()},
                                                            {"cached", load.blocks_cached()},
                                                            {"total", load.blocks_total()}};
    for (const auto& [state, blocks] : states) {
      text->Sample({{"node", node->hello.node_id()}, {"role", RoleOf(*node)}, {"state", state}},
                   blocks);
    }
  }
}

struct TierValue {
  absl::string_view name;
  absl::string_view type;
  absl::string_view help;
  double (*value)(const v1::CacheTier&);
};
constexpr TierValue kTierValues[] = {
    {"baton_node_cache_tier_blocks", "gauge",
     "Cached blocks below a node's pool, by tier: host or disk",
     [](const v1::CacheTier& tier) { return double(tier.blocks()); }},
    {"baton_node_cache_tier_bytes", "gauge", "Bytes of the blocks in a tier",
     [](const v1::CacheTier& tier) { return double(tier.bytes()); }},
    {"baton_node_cache_tier_hits_total", "counter", "Blocks that came back from a tier",
     [](const v1::CacheTier& tier) { return double(tier.hits()); }},
    {"baton_node_cache_tier_hit_seconds_total", "counter",
     "Seconds that the way back from a tier took",
     [](const v1::CacheTier& tier) { return tier.hit_seconds(); }},
    {"baton_node_cache_tier_dropped_total", "counter", "Blocks that a tier had no room for",
     [](const v1::CacheTier& tier) { return double(tier.dropped()); }},
    {"baton_node_cache_tier_corrupt_total", "counter", "Entries whose checksum did not match",
     [](const v1::CacheTier& tier) { return double(tier.corrupt()); }},
};

void WriteTiers(const std::vector<const Node*>& nodes, MetricsText* text) {
  for (const TierValue& entry : kTierValues) {
    text->Family(entry.name, entry.type, entry.help);
    for (const Node* node : nodes) {
      for (const v1::CacheTier& tier : node->load.tiers()) {
        text->Sample(
            {{"node", node->hello.node_id()}, {"role", RoleOf(*node)}, {"tier", tier.name()}},
            entry.value(tier));
      }
    }
  }
}

void WriteFaults(const std::vector<const Node*>& nodes, MetricsText* text) {
  text->Family("baton_node_faults_injected_total", "counter", "Faults on purpose, by point");
  for (const Node* node : nodes) {
    const std::map<std::string, int64_t> faults(node->load.faults_injected().begin(),
                                                node->load.faults_injected().end());
    for (const auto& [point, count] : faults) {
      text->Sample({{"node", node->hello.node_id()}, {"role", RoleOf(*node)}, {"fault", point}},
                   static_cast<double>(count));
    }
  }
}

}  // namespace

void WriteNodeMetrics(const ClusterSnapshot& cluster, MetricsText* text) {
  const std::vector<const Node*> nodes = AllNodes(cluster);
  text->Family("baton_node_up", "gauge",
               "1 for each registered node, 0 for one that was here and is gone");
  for (const Node* node : nodes) {
    text->Sample({{"node", node->hello.node_id()}, {"role", RoleOf(*node)}}, 1);
  }
  for (const auto& [id, role] : cluster.gone) {
    text->Sample({{"node", id}, {"role", RoleName(role)}}, 0);
  }
  text->Family("baton_nodes", "gauge", "Registered nodes by role");
  text->Sample({{"role", "prefill"}}, static_cast<double>(cluster.prefill.size()));
  text->Sample({{"role", "decode"}}, static_cast<double>(cluster.decode.size()));
  WriteInfo(nodes, text);
  WriteBlocks(nodes, text);
  WriteTiers(nodes, text);
  WriteFaults(nodes, text);
  for (const NodeValue& entry : kNodeValues) {
    text->Family(entry.name, entry.type, entry.help);
    for (const Node* node : nodes) {
      text->Sample({{"node", node->hello.node_id()}, {"role", RoleOf(*node)}},
                   entry.value(node->load));
    }
  }
}

}  // namespace baton::router
