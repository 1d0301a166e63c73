// decision_bench: what one scheduling decision costs in a large cluster, all of it: block hashes of
// the prompt, the look-up in the cache index, the candidates, the choice.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kvcache/block_hash.h"
#include "router/candidates.h"
#include "router/cluster_view.h"

namespace baton::bench {
namespace {

constexpr uint64_t kFingerprint = 7;
constexpr int32_t kBlockTokens = 32;

using Clock = std::chrono::steady_clock;

v1::NodeHello Hello(int node, bool prefill) {
  v1::NodeHello hello;
  hello.set_node_id(std::to_string(node));
  hello.set_role(prefill ? v1::NODE_ROLE_PREFILL : v1::NODE_ROLE_DECODE);
  hello.set_address("127.0.0.1:1");
  hello.set_incarnation(1);
  hello.set_context_length(131072);
  v1::KvLayout* layout = hello.mutable_layout();
  layout->set_version(1);
  layout->set_layers(30);
  layout->set_kv_heads(3);
  layout->set_head_dim(64);
  layout->set_block_tokens(kBlockTokens);
  layout->set_dtype("f16");
  layout->set_model_fingerprint(kFingerprint);
  return hello;
}

v1::NodeLoad Load(SeededRng& rng) {
  v1::NodeLoad load;
  load.set_prompt_tokens_queued(static_cast<int64_t>(rng.Next() % 20000));
  load.set_prefill_tokens_per_s(1000 + static_cast<double>(rng.Next() % 1000));
  load.set_sequences_running(static_cast<int32_t>(1 + rng.Next() % 60));
  load.set_step_seconds(0.01 + 0.0001 * static_cast<double>(rng.Next() % 100));
  load.set_blocks_total(10000);
  load.set_blocks_free(static_cast<int32_t>(rng.Next() % 10000));
  return load;
}

// Times of one part over all rounds.
class Times {
 public:
  explicit Times(const char* name) : name_(name) {}
  void Add(Clock::time_point from, Clock::time_point to) {
    us_.push_back(std::chrono::duration<double, std::micro>(to - from).count());
  }
  void Print() {
    std::sort(us_.begin(), us_.end());
    std::printf("%-28s median %7.2f us   p99 %7.2f us\n", name_, us_[us_.size() / 2],
                us_[us_.size() * 99 / 100]);
  }

 private:
  const char* name_;
  std::vector<double> us_;
};

struct Options {
  int nodes = 1024;
  int prompt_tokens = 2000;
  int cached_percent = 50;
  int rounds = 5000;
  std::string disaggregate = "auto";
};

void Run(const Options& options) {
  const auto channel = grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials());
  router::OpenCalls calls;
  router::CacheIndex index(10'000'000);
  router::ClusterView view(absl::Seconds(10), SystemClock::Get(), index, [&](const v1::NodeHello&) {
    return std::make_shared<router::NodeClient>(channel, &calls);
  });
  std::vector<int32_t> prompt(options.prompt_tokens);
  for (int i = 0; i < options.prompt_tokens; ++i) prompt[i] = (i * 7919) % 49152;
  const std::vector<uint64_t> hashes =
      kvcache::BlockHashes(prompt, kBlockTokens, kvcache::BlockHashSeed(kFingerprint, ""));
  SeededRng rng(1);
  for (int i = 0; i < options.nodes; ++i) {
    const uint64_t node = *view.Join(Hello(i, i % 2 == 0));
    (void)view.Report(node, Load(rng));
    // Some nodes hold a part of the prompt, as after a system prompt and earlier turns.
    if (static_cast<int>(rng.Next() % 100) >= options.cached_percent) continue;
    const size_t blocks = hashes.size() * (rng.Next() % 101) / 100;
    index.Apply(node, {.sequence = 1, .reset = true, .stored = {hashes.data(), blocks}});
  }
  v1::SchedulerConfig config;
  config.set_disaggregate(options.disaggregate);
  const router::SchedulePolicy policy = router::PolicyFrom(config);
  const auto cluster = view.snapshot();
  for (const auto& node : cluster->decode) {
    node->client->rates().prefill.Observe(100, 0.2, SystemClock::Get().Now());
  }
  router::Placement placement;
  placement.prompt_tokens = options.prompt_tokens;
  placement.kv_bytes_per_token = 23040;
  Times hashing("block hashes and look-up"), candidate("candidates"), choice("choice"),
      all("decision");
  size_t sum = 0;
  for (int round = 0; round < options.rounds; ++round) {
    placement.turn = round;
    const auto begin = Clock::now();
    const auto matches = router::FindPrefixes(*cluster, index, prompt, "");
    const auto found = Clock::now();
    const auto candidates = router::CandidatesFor(*cluster, matches, options.prompt_tokens, {},
                                                  SystemClock::Get().Now());
    const auto gathered = Clock::now();
    const router::Decision decision =
        router::Decide(policy, placement, candidates.prefill, candidates.decode);
    const auto decided = Clock::now();
    sum += decision.decode.value_or(0) + decision.prefill.value_or(0);
    hashing.Add(begin, found);
    candidate.Add(found, gathered);
    choice.Add(gathered, decided);
    all.Add(begin, decided);
  }
  std::printf("%d nodes, prompt of %d tokens, disaggregate=%s (%zu)\n", options.nodes,
              options.prompt_tokens, options.disaggregate.c_str(), sum % 10);
  for (Times* times : {&hashing, &candidate, &choice, &all}) times->Print();
}

}  // namespace
}  // namespace baton::bench

int main(int argc, char** argv) {
  baton::bench::Options options;
  CLI::App app("Times scheduling decisions.");
  app.add_option("--nodes", options.nodes, "registered nodes, half of them prefill");
  app.add_option("--prompt", options.prompt_tokens, "prompt tokens");
  app.add_option("--cached-percent", options.cached_percent,
                 "nodes that hold a part of the prompt");
  app.add_option("--rounds", options.rounds, "decisions");
  app.add_option("--disaggregate", options.disaggregate, "auto, always or never");
  CLI11_PARSE(app, argc, argv);
  baton::bench::Run(options);
  return 0;
}
