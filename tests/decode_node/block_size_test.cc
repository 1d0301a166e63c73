// A prefill node and a decode node whose blocks differ in size.
#include "tests/decode_node/cold.h"
#include "tests/decode_node/two_nodes.h"
#include "tests/kvcache/transfer/outcome.h"

namespace baton::decode_node {
namespace {

using kvcache::Eventually;

class BlockSizeTest : public testing::TestWithParam<std::pair<int32_t, int32_t>> {
 protected:
  // Bytes of `tokens` tokens.
  int64_t Bytes(int64_t tokens) const {
    const device::KvGeometry& geometry = nodes_.prefill.parts.layout.geometry;
    return tokens * geometry.BlockBytesTotal() / geometry.block_tokens;
  }
  TwoNodes nodes_{GetParam().first, GetParam().second};
};

TEST_P(BlockSizeTest, EveryPromptIsAnsweredAsByOneNode) {
  for (const int32_t length : {1, 15, 16, 17, 33, 64, 65, 100, 300}) {
    const Prompt prompt = PromptOf(length, 12, static_cast<uint64_t>(length));
    EXPECT_EQ(nodes_.Answer(prompt), Cold(prompt)) << length;
  }
  EXPECT_TRUE(Eventually([this] { return nodes_.AllFree(); }));
  EXPECT_EQ(nodes_.decode.receiver->stats().frames_refused, 0);
}

// Blocks of the larger size that the decode node has in part are sent whole, and only the missing
// part is written.
TEST_P(BlockSizeTest, OnlyWhatTheDecodeNodeLacksIsMoved) {
  const int32_t sent = GetParam().first;
  Prompt prompt = PromptOf(200, 60, 3);
  for (int turn = 0; turn < 4; ++turn) {
    const std::vector<int32_t> answer = nodes_.Answer(prompt);
    EXPECT_EQ(answer, Cold(prompt)) << "turn " << turn;
    const int64_t there = int64_t{nodes_.first_missing} * sent;
    const int64_t end = kvcache::BlocksFor(static_cast<int64_t>(prompt.ids.size()), sent) * sent;
    EXPECT_EQ(nodes_.handed.kv_bytes(), Bytes(end - there)) << "turn " << turn;
    if (turn > 0) {
      EXPECT_GT(there, 128) << turn;
    }
    prompt = NextTurn(prompt, answer, 37, static_cast<uint64_t>(turn));
  }
}

// The way back: whole blocks of the prefill node's size out of those of the decode node's. Fetched
// once: whether it pays to do it again depends on the rates that were measured.
TEST_P(BlockSizeTest, ThePrefillNodeFetchesWhatTheDecodeNodeHas) {
  const auto [here, there] = GetParam();
  const Prompt prompt = PromptOf(200, 150, 3);
  const std::vector<int32_t> answer = nodes_.Answer(prompt);
  EXPECT_EQ(answer, Cold(prompt));
  const Prompt next = NextTurn(prompt, answer, 37, 4);
  nodes_.peer_blocks = 1024 / here;  // more than there is
  EXPECT_EQ(nodes_.Answer(next), Cold(next));
  // Of 350 tokens 349 are on the decode node: the last one was drawn, but not computed.
  const int32_t whole = 349 / there * there / here * here;
  EXPECT_EQ(nodes_.first.cached_tokens(), whole);
  EXPECT_EQ(nodes_.first.fetched_tokens(), whole - 200 / here * here);
  EXPECT_TRUE(Eventually([this] { return nodes_.AllFree(); }));
}

INSTANTIATE_TEST_SUITE_P(Pairs, BlockSizeTest,
                         testing::Values(std::pair{16, 32}, std::pair{16, 64}, std::pair{32, 16},
                                         std::pair{32, 64}, std::pair{64, 16}, std::pair{64, 32}));

}  // namespace
}  // namespace baton::decode_node
