// Where requests run: prefixes that nodes have cached, prefill on decode nodes, tenants.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kvcache/block_hash.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

class PlacementTest : public RouterFixture {
 protected:
  // A completion of `prompt`, with its timings.
  Json Complete(const std::vector<int32_t>& prompt, const std::string& more = "") {
    const RawReply reply =
        Ask("/v1/completions", absl::StrCat("{\"prompt\":[", absl::StrJoin(prompt, ","),
                                            "],\"max_tokens\":3,\"timings\":true", more, "}"));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return Json::parse(reply.body, nullptr, false);
  }
  // Tells the router that `node` has cached all full blocks of `prompt`.
  void Cache(fakes::FakeNode* node, const std::vector<int32_t>& prompt, const std::string& salt,
             uint64_t sequence = 1, bool reset = true) {
    v1::CacheEvents events;
    events.set_sequence(sequence);
    events.set_reset(reset);
    for (const uint64_t hash :
         kvcache::BlockHashes(prompt, 32, kvcache::BlockHashSeed(TinyModelFingerprint(), salt))) {
      events.add_stored(hash);
    }
    node->SendCache(std::move(events));
  }
  bool Known(double blocks) {
    return Eventually([&] { return Metric("baton_cache_index_blocks") == blocks; });
  }
};

std::vector<int32_t> Ids(int32_t count, int32_t first) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back(5 + (first + i) % 200);
  return ids;
}

TEST_F(PlacementTest, APromptGoesToThePrefillNodeThatHasItsBeginning) {
  StartCluster();
  fakes::FakeNode* other = AddPrefill("p1");
  AddPrefill("p2");
  Say("Hello");
  const std::vector<int32_t> prompt = Ids(200, 0);
  Cache(other, prompt, "");
  ASSERT_TRUE(Known(6));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Complete(prompt)["timings"]["prefill_node"], "p1");
  other->Leave();  // and what it had is forgotten
  ASSERT_TRUE(Known(0));
  EXPECT_NE(Complete(prompt)["timings"]["prefill_node"], "p1");
}

TEST_F(PlacementTest, APrefillNodeIsToldWhichOtherNodeHasMoreOfThePrompt) {
  StartCluster();
  const std::vector<int32_t> prompt = Ids(200, 0);
  Cache(decode, prompt, "");
  Cache(prefill, {prompt.begin(), prompt.begin() + 64}, "");
  ASSERT_TRUE(Known(8));
  Complete(prompt);
  const v1::PrefillRequest request = prefill->prefill_requests().at(0);
  EXPECT_EQ(request.peer_prefix().blocks(), 6);
  EXPECT_EQ(request.peer_prefix().incarnation(), decode->options().incarnation);
  EXPECT_EQ(request.peer_prefix().address(), request.hand_over().decode_address());
  Cache(prefill, prompt, "", 2);
  ASSERT_TRUE(Known(12));
  Complete(prompt);
  EXPECT_FALSE(prefill->prefill_requests().at(1).has_peer_prefix());
}

TEST_F(PlacementTest, ADecodeNodeThatHasThePromptIsPreferred) {
  StartCluster();
  fakes::FakeNode* other = AddDecode("d1");
  Say("Hello");
  const std::vector<int32_t> prompt = Ids(200, 0);
  Cache(other, prompt, "");
  ASSERT_TRUE(Known(6));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Complete(prompt)["timings"]["decode_node"], "d1");
}

TEST_F(PlacementTest, RequestsOfDifferentSaltShareNothing) {
  StartCluster();
  fakes::FakeNode* other = AddPrefill("p1");
  fakes::NodeScript script;
  script.token = fakes::Says("Hello");
  script.cached_tokens = 192;
  for (const auto& node : nodes) node->SetScript(script);
  const std::vector<int32_t> prompt = Ids(200, 0);
  Cache(other, prompt, "tenant-1");
  Cache(prefill, prompt, "tenant-2");
  ASSERT_TRUE(Known(12));
  for (int i = 0; i < 3; ++i) {
    const auto node_of = [&](const std::string& salt) {
      return Complete(prompt, ",\"cache_salt\":\"" + salt + "\"")["timings"]["prefill_node"];
    };
    EXPECT_EQ(node_of("tenant-1"), "p1");
    EXPECT_EQ(node_of("tenant-2"), "p0");
  }
  EXPECT_EQ(other->prefill_requests().at(0).cache_salt(), "tenant-1");
  EXPECT_EQ(decode->decode_requests().at(0).cache_salt(), "tenant-1");
  EXPECT_FALSE(other->prefill_requests().at(0).has_peer_prefix());
}

TEST_F(PlacementTest, ASaltOfOtherLettersIsRefused) {
  StartCluster();
  for (const std::string& salt :
       {std::string("\"\""), std::string("\"a b\""), std::string("\"\\u00e9\""), std::string("7"),
        "\"" + std::string(65, 'x') + "\""}) {
    const RawReply reply =
        Ask("/v1/completions", absl::StrCat("{\"prompt\":\"x\",\"cache_salt\":", salt, "}"));
    EXPECT_EQ(reply.status, 400) << salt;
    EXPECT_EQ(Json::parse(reply.body)["error"]["param"], "cache_salt");
  }
  EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"x\",\"cache_salt\":\"a-Z_0.9\"}").status, 200);
}

TEST_F(PlacementTest, ANodeWhoseCacheEventsHaveAGapIsAskedForAllOfThem) {
  StartCluster();
  const std::vector<int32_t> prompt = Ids(200, 0);
  Cache(prefill, prompt, "");
  ASSERT_TRUE(Known(6));
  Cache(prefill, Ids(64, 100), "", 3, /*reset=*/false);
  ASSERT_TRUE(Known(0));
  EXPECT_TRUE(Eventually([&] { return prefill->cache_asked() == 1; }));
  EXPECT_EQ(Metric("baton_cache_index_gaps_total"), 1);
  Cache(prefill, prompt, "", 4);
  EXPECT_TRUE(Known(6));
}

TEST_F(PlacementTest, DecodeNodesServeAloneWhenNoPrefillNodeIsThere) {
  config.mutable_scheduler()->set_disaggregate("auto");
  StartRouter();
  EXPECT_EQ(Fetch("/ready").status, 503);
  decode = AddDecode();
  Say("Hello");
  EXPECT_EQ(Fetch("/ready").status, 200);
  const Json answer = Complete(Ids(200, 0));
  EXPECT_EQ(answer["choices"][0]["text"], "Hel");
  EXPECT_EQ(answer["timings"]["placement"], "no_prefill_node");
  EXPECT_EQ(answer["timings"]["prefill_node"], "");
  EXPECT_EQ(answer["timings"]["queue_ms"], 1.0);
  EXPECT_EQ(Metric("baton_placements_total{prefill=\"decode\",reason=\"no_prefill_node\"}"), 1);
  const v1::DecodeRequest request = decode->decode_requests().at(0);
  EXPECT_TRUE(request.prefill_here());
  EXPECT_FALSE(request.has_ticket());
  // One token, too.
  const RawReply one = Ask("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
  EXPECT_EQ(Json::parse(one.body)["choices"][0]["text"], "H");
  EXPECT_TRUE(Eventually([&] { return decode->running() == 0; }));
  EXPECT_EQ(decode->cancelled(), 0);
}

TEST_F(PlacementTest, AutoMeasuresADecodeNodeAndThenComputesShortRestsThere) {
  config.mutable_scheduler()->set_disaggregate("auto");
  StartCluster();
  EXPECT_EQ(Complete(Ids(300, 0))["timings"]["placement"], "not_measured");
  EXPECT_EQ(Complete(Ids(40, 0))["timings"]["placement"], "probe");
  // The node said 3 ms for 40 tokens; the prefill node says 3 ms for 300.
  EXPECT_EQ(Complete(Ids(300, 0))["timings"]["placement"], "prefill_cheaper");
  // But the decode node has most of this prompt.
  fakes::NodeScript cached;
  cached.token = fakes::Says("Hello");
  cached.cached_tokens = 288;
  decode->SetScript(cached);
  Cache(decode, Ids(300, 0), "");
  ASSERT_TRUE(Known(9));
  const Json answer = Complete(Ids(300, 0));
  EXPECT_EQ(answer["timings"]["placement"], "short_rest");
  EXPECT_EQ(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 288);
  EXPECT_GE(answer["timings"]["estimated_first_token_ms"], 0);
  EXPECT_GE(Metric("baton_first_token_estimate_error_seconds_count"), 1);
}

TEST_F(PlacementTest, AStreamThatADecodeNodePrefilledGoesOnElsewhereWhenTheNodeDies) {
  config.mutable_scheduler()->set_disaggregate("never");
  StartRouter();
  decode = AddDecode("d0");
  fakes::FakeNode* other = AddDecode("d1");
  Say("Hello world");
  fakes::NodeScript dies;
  dies.token = fakes::Says("Hello world");
  dies.die_at = 5;
  decode->SetScript(dies);
  const std::vector<int32_t> prompt = Ids(100, 0);
  Cache(decode, prompt, "");  // so that it is picked
  ASSERT_TRUE(Known(3));
  const RawReply reply =
      Ask("/v1/completions",
          absl::StrCat("{\"prompt\":[", absl::StrJoin(prompt, ","), "],\"max_tokens\":11}"));
  EXPECT_EQ(Json::parse(reply.body)["choices"][0]["text"], "Hello world") << reply.body;
  EXPECT_EQ(decode->calls(), 1);
  ASSERT_EQ(other->decode_requests().size(), 1u);
  EXPECT_EQ(other->decode_requests()[0].first_index(), 5);
  EXPECT_EQ(other->decode_requests()[0].prompt_size(), 105);
  EXPECT_TRUE(other->decode_requests()[0].prefill_here());
}

}  // namespace
}  // namespace baton::router
