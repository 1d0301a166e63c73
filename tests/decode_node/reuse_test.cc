// Prefixes that are computed once and moved once, on both nodes.
#include "tests/decode_node/cold.h"
#include "tests/decode_node/two_nodes.h"
#include "tests/engine/engine_fixture.h"
#include "tests/kvcache/transfer/outcome.h"

namespace baton::decode_node {
namespace {

using kvcache::Eventually;

class ReuseTest : public testing::Test {
 protected:
  int64_t BlockBytes() const { return nodes_.decode.parts.layout.geometry.BlockBytesTotal(); }
  void ExpectAllFree() {
    EXPECT_TRUE(Eventually([this] { return nodes_.AllFree(); }));
  }
  // Answers on the decode node alone.
  std::vector<int32_t> AnswerHere(const Prompt& prompt) {
    v1::DecodeRequest request = DecodeRequestOf(prompt);
    request.set_prefill_here(true);
    auto stream = nodes_.Generate(request);
    v1::DecodeEvent event;
    EXPECT_TRUE(stream->Read(&event) && event.has_prefilled());
    prefilled_ = event.prefilled();
    std::vector<int32_t> ids;
    while (stream->Read(&event)) {
      for (const v1::Token& token : event.tokens().tokens()) {
        EXPECT_EQ(token.index(), static_cast<int32_t>(ids.size()));
        ids.push_back(token.id());
      }
      if (event.has_finished()) {
        EXPECT_EQ(event.finished().output_tokens(), static_cast<int32_t>(ids.size()));
        EXPECT_EQ(event.finished().finish_reason(), v1::FINISH_REASON_LENGTH);
      }
    }
    EXPECT_TRUE(stream->End().ok());
    return ids;
  }

  TwoNodes nodes_;
  v1::DecodePrefilled prefilled_;
};

TEST_F(ReuseTest, TheSecondTurnMovesOnlyWhatIsNew) {
  const Prompt first = PromptOf(200, 60, 3);
  const std::vector<int32_t> answer = nodes_.Answer(first);
  EXPECT_EQ(answer, Cold(first));
  EXPECT_EQ(nodes_.first.cached_tokens(), 0);
  EXPECT_EQ(nodes_.handed.kv_bytes(), 7 * BlockBytes());
  // 259 of 260 tokens are on the decode node: eight full blocks. Of 300 tokens in ten blocks two
  // are missing.
  const Prompt second = NextTurn(first, answer, 40, 4);
  EXPECT_EQ(nodes_.Answer(second), Cold(second));
  EXPECT_EQ(nodes_.first_missing, 8);
  EXPECT_EQ(nodes_.handed.kv_bytes(), 2 * BlockBytes());
  EXPECT_EQ(nodes_.first.cached_tokens(), 192);  // prefill has its prompt only
  ExpectAllFree();
}

// What decode generated comes back: on the second turn prefill computes only what is new.
TEST_F(ReuseTest, TheSecondTurnFetchesWhatDecodeGenerated) {
  const Prompt first = PromptOf(200, 60, 3);
  const std::vector<int32_t> answer = nodes_.Answer(first);
  const Prompt second = NextTurn(first, answer, 40, 4);
  const int64_t computed = nodes_.prefill.engine.stats().tokens_computed;
  nodes_.peer_blocks = 8;
  EXPECT_EQ(nodes_.Answer(second), Cold(second));
  EXPECT_EQ(nodes_.first.cached_tokens(), 256);
  EXPECT_EQ(nodes_.first.fetched_tokens(), 64);
  EXPECT_GT(nodes_.first.fetch_seconds(), 0);
  EXPECT_EQ(nodes_.prefill.engine.stats().tokens_computed - computed, 300 - 256);
  EXPECT_EQ(nodes_.decode.bytes_given, 2 * BlockBytes());
  EXPECT_EQ(nodes_.handed.kv_bytes(), 2 * BlockBytes());
  ExpectAllFree();
}

// The router may be wrong about the peer: then the prompt is computed.
TEST_F(ReuseTest, APeerThatHasNothingOrIsGoneOnlyCostsAMoment) {
  nodes_.peer_blocks = 6;
  const Prompt prompt = PromptOf(200, 9, 3);
  EXPECT_EQ(nodes_.Answer(prompt), Cold(prompt));
  EXPECT_EQ(nodes_.first.fetched_tokens(), 0);
  v1::PrefillRequest request = nodes_.RunRequest(PromptOf(200, 1, 5), NewTicket());
  request.clear_hand_over();
  *request.mutable_peer_prefix() = nodes_.PeerPrefix();
  request.mutable_peer_prefix()->set_incarnation(1);  // the peer was restarted
  EXPECT_EQ(TwoNodes::FirstToken(*nodes_.Run(request)), Cold(PromptOf(200, 1, 5))[0]);
  request.mutable_prompt()->Set(0, 77);
  request.mutable_peer_prefix()->set_address("127.0.0.1:1");
  EXPECT_GE(TwoNodes::FirstToken(*nodes_.Run(request)), 0);
  ExpectAllFree();
}

TEST_F(ReuseTest, WhatIsFetchedUnderOneSaltIsNotSeenUnderAnother) {
  Prompt prompt = PromptOf(200, 9, 3);
  prompt.cache_salt = "alice";
  EXPECT_EQ(AnswerHere(prompt), Cold(prompt));
  nodes_.peer_blocks = 6;
  prompt.cache_salt = "bob";
  EXPECT_EQ(nodes_.Answer(prompt), Cold(prompt));
  EXPECT_EQ(nodes_.first.cached_tokens(), 0);
  prompt.cache_salt = "alice";
  EXPECT_EQ(nodes_.Answer(prompt), Cold(prompt));
  EXPECT_EQ(nodes_.first.fetched_tokens(), 192);
}

TEST_F(ReuseTest, WhatPrefillHasCachedAndDecodeLacksIsMoved) {
  Prompt prompt = PromptOf(200, 1, 3);  // no decode follows
  const std::vector<int32_t> one = nodes_.Answer(prompt);
  prompt.stop.set_max_tokens(9);
  const std::vector<int32_t> nine = nodes_.Answer(prompt);
  EXPECT_EQ(nodes_.first.cached_tokens(), 192);
  EXPECT_EQ(nodes_.handed.kv_bytes(), 7 * BlockBytes());
  EXPECT_EQ(nine, Cold(prompt));
  EXPECT_EQ(one[0], nine[0]);
  ExpectAllFree();
}

TEST_F(ReuseTest, DifferentSaltsNeverShare) {
  Prompt prompt = PromptOf(200, 9, 3);
  prompt.cache_salt = "alice";
  const std::vector<int32_t> cold = nodes_.Answer(prompt);
  prompt.cache_salt = "bob";
  EXPECT_EQ(nodes_.Answer(prompt), cold);
  EXPECT_EQ(nodes_.first.cached_tokens(), 0);
  EXPECT_EQ(nodes_.first_missing, 0);
  EXPECT_EQ(nodes_.handed.kv_bytes(), 7 * BlockBytes());
  EXPECT_EQ(AnswerHere(prompt), cold);
  EXPECT_EQ(prefilled_.cached_tokens(), 192);
  prompt.cache_salt = "carol";
  EXPECT_EQ(AnswerHere(prompt), cold);
  EXPECT_EQ(prefilled_.cached_tokens(), 0);
  prompt.cache_salt = "alice";
  EXPECT_EQ(nodes_.Answer(prompt), cold);
  EXPECT_EQ(nodes_.first.cached_tokens(), 192);
  EXPECT_EQ(nodes_.first_missing, 6);
}

TEST_F(ReuseTest, PrefillOnTheDecodeNodeEqualsThatOfAPrefillNode) {
  for (const int32_t length : {1, 31, 32, 33, 200, 700}) {
    const Prompt prompt = PromptOf(length, 12, static_cast<uint64_t>(length));
    EXPECT_EQ(AnswerHere(prompt), Cold(prompt)) << length;
    EXPECT_EQ(prefilled_.cached_tokens(), 0);
    EXPECT_EQ(nodes_.Answer(prompt), AnswerHere(prompt)) << length;
    EXPECT_EQ(prefilled_.cached_tokens(), (length - 1) / 32 * 32);
  }
  ExpectAllFree();
}

// A prompt that is computed in chunks beside running streams, which go on meanwhile.
TEST_F(ReuseTest, PrefillOnTheDecodeNodeLeavesRunningStreamsTheirTokens) {
  const Prompt steady = PromptOf(40, 400, 8);
  const v1::Ticket ticket = NewTicket();
  auto tokens = nodes_.Lease(steady, ticket);
  auto run = nodes_.Run(steady, ticket);
  std::vector<int32_t> ids = {TwoNodes::FirstToken(*run)};
  EXPECT_TRUE(run->End().ok());
  const Prompt prompt = PromptOf(900, 3, 9);
  EXPECT_EQ(AnswerHere(prompt), Cold(prompt));
  for (const int32_t id : TwoNodes::Rest(*tokens)) ids.push_back(id);
  EXPECT_EQ(ids, Cold(steady));
  ExpectAllFree();
}

TEST_F(ReuseTest, APromptThatFindsNoRoomIsRefusedAtOnce) {
  const Prompt large = PromptOf(1000, 9, 1);
  std::vector<std::unique_ptr<DecodeStream>> leases;
  for (int i = 0; i < 3; ++i) leases.push_back(nodes_.Lease(large, NewTicket()));
  v1::DecodeRequest request = DecodeRequestOf(PromptOf(100, 9, 2));
  request.set_prefill_here(true);
  EXPECT_EQ(nodes_.Generate(request)->End().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  leases.clear();
  ExpectAllFree();
  EXPECT_EQ(AnswerHere(PromptOf(100, 9, 2)), Cold(PromptOf(100, 9, 2)));
}

TEST_F(ReuseTest, ACancelledPrefillOnTheDecodeNodeFreesItsBlocks) {
  engine::Gate gate;
  nodes_.decode.model.SetHook([&] { (void)gate.Pass(); });
  v1::DecodeRequest request = DecodeRequestOf(PromptOf(500, 9, 2));
  request.set_prefill_here(true);
  auto stream = nodes_.Generate(request);
  gate.WaitForArrival();
  stream->Cancel();
  EXPECT_EQ(stream->End().error_code(), grpc::StatusCode::CANCELLED);
  gate.Open();
  nodes_.decode.model.SetHook(nullptr);
  ExpectAllFree();
}

// Conversations over pools that hold few of them: blocks are evicted and preempted, tokens stay.
TEST_F(ReuseTest, ConversationsThatOverflowThePoolsKeepTheirTokens) {
  for (uint64_t user = 0; user < 6; ++user) {
    Prompt prompt = PromptOf(300, 30, user);
    for (int turn = 0; turn < 3; ++turn) {
      const std::vector<int32_t> answer =
          turn % 2 == 0 ? nodes_.Answer(prompt) : AnswerHere(prompt);
      ASSERT_EQ(answer, Cold(prompt)) << "user " << user << ", turn " << turn;
      prompt = NextTurn(prompt, answer, 50, 10 * user + turn);
    }
  }
  ExpectAllFree();
}

}  // namespace
}  // namespace baton::decode_node
