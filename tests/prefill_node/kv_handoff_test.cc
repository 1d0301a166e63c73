#include "prefill_node/kv_handoff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "tests/fakes/fake_model.h"
#include "tests/fakes/memory_device.h"

namespace baton::prefill_node {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int32_t kBlockTokens = 16;

struct Pushed {
  int32_t layer, block_begin;
  std::vector<int32_t> block_ids;
  friend bool operator==(const Pushed&, const Pushed&) = default;
};
std::ostream& operator<<(std::ostream& out, const Pushed& pushed) {
  return out << "layer " << pushed.layer << " from " << pushed.block_begin << " "
             << testing::PrintToString(pushed.block_ids);
}

// Remembers what it is told.
class RecordingSender final : public kvcache::KvSender {
 public:
  class Push final : public kvcache::KvPush {
   public:
    void SendBlocks(int32_t layer, int32_t block_begin, absl::Span<const int32_t> ids) override {
      sent.push_back({layer, block_begin, {ids.begin(), ids.end()}});
    }
    void Commit(int32_t prompt_tokens, const v1::Token& first_token) override {
      committed_tokens = prompt_tokens;
      first_token_id = first_token.id();
    }
    void Cancel() override { ++cancels; }
    int64_t bytes_sent() const override { return 99; }

    std::vector<Pushed> sent;
    std::optional<int32_t> committed_tokens;
    int32_t first_token_id = -1;
    int cancels = 0;
  };

  std::shared_ptr<kvcache::KvPush> Start(const kvcache::KvPushTarget& to,
                                         std::function<void(absl::Status)>) override {
    target = to;
    push = std::make_shared<Push>();
    return push;
  }

  kvcache::KvPushTarget target;
  std::shared_ptr<Push> push;
};

class KvHandoffTest : public testing::Test {
 protected:
  KvHandoffTest()
      : store_(
            kvcache::KvStore::Create(device_, fakes::FakeModelGeometry(kBlockTokens), 10).value()) {
    for (int32_t layer = 0; layer < 2; ++layer) {
      for (int32_t block = 0; block < 10; ++block) {
        std::memset(store_->BlockLayer(layer, block), 0xff, store_->geometry().BlockLayerBytes());
      }
    }
  }
  // A prompt of `tokens`, whose blocks are in the pool's order.
  void Prompt(int64_t tokens, int32_t first_missing_block = 0) {
    sequence_.tokens.assign(tokens, 5);
    sequence_.prompt_tokens = tokens;
    sequence_.blocks.Append(
        pool_.Allocate(kvcache::BlocksFor(tokens, kBlockTokens), kvcache::BlockPool::Use::kUsed)
            .value());
    handoff_ = std::make_unique<KvHandoff>(
        *store_, sender_, kvcache::KvPushTarget{.address = "decode:1"}, first_missing_block);
  }
  std::vector<Pushed> Push(int32_t layer, int64_t begin, int64_t end) {
    sender_.push->sent.clear();
    handoff_->Push(sequence_, layer, begin, end);
    return sender_.push->sent;
  }
  // Slots of `block` whose value bytes are zero.
  int ZeroSlots(int32_t layer, int32_t block) const {
    const uint8_t* values = store_->layers()[layer].values(block);
    int zero = 0;
    for (int slot = 0; slot < kBlockTokens; ++slot) zero += values[slot * 8] == 0 ? 1 : 0;
    return zero;
  }

  fakes::MemoryDevice device_;
  std::unique_ptr<kvcache::KvStore> store_;
  kvcache::BlockPool pool_{10};
  RecordingSender sender_;
  engine::Sequence sequence_;
  std::unique_ptr<KvHandoff> handoff_;
};

TEST_F(KvHandoffTest, PushesTheBlocksThatAChunkCompletes) {
  Prompt(70);
  handoff_->Start([](absl::Status) {});
  EXPECT_EQ(sender_.target.address, "decode:1");
  EXPECT_THAT(Push(0, 0, 32), ElementsAre(Pushed{0, 0, {0, 1}}));
  EXPECT_THAT(Push(1, 0, 32), ElementsAre(Pushed{1, 0, {0, 1}}));
  EXPECT_THAT(Push(0, 32, 64), ElementsAre(Pushed{0, 2, {2, 3}}));
  EXPECT_EQ(ZeroSlots(0, 4), 0);
}

TEST_F(KvHandoffTest, TheLastBlockLeavesWithNothingOfEarlierSequences) {
  Prompt(70);
  handoff_->Start([](absl::Status) {});
  EXPECT_THAT(Push(0, 64, 70), ElementsAre(Pushed{0, 4, {4}}));
  EXPECT_EQ(ZeroSlots(0, 4), 10);
  EXPECT_EQ(ZeroSlots(1, 4), 0);  // that layer is not written yet
  EXPECT_THAT(Push(1, 64, 70), ElementsAre(Pushed{1, 4, {4}}));
  EXPECT_EQ(ZeroSlots(1, 4), 10);
  EXPECT_EQ(ZeroSlots(1, 3), 0);
}

TEST_F(KvHandoffTest, APromptThatFillsItsBlocksHasNoTail) {
  Prompt(48);
  handoff_->Start([](absl::Status) {});
  EXPECT_THAT(Push(0, 0, 48), ElementsAre(Pushed{0, 0, {0, 1, 2}}));
  EXPECT_EQ(ZeroSlots(0, 2) + ZeroSlots(0, 3), 0);
}

TEST_F(KvHandoffTest, ChunksInsideABlockPushItOnceItIsComplete) {
  Prompt(40);
  handoff_->Start([](absl::Status) {});
  EXPECT_THAT(Push(0, 0, 8), IsEmpty());
  EXPECT_THAT(Push(0, 8, 16), ElementsAre(Pushed{0, 0, {0}}));
  EXPECT_THAT(Push(0, 16, 24), IsEmpty());
  EXPECT_THAT(Push(0, 24, 40), ElementsAre(Pushed{0, 1, {1, 2}}));
}

TEST_F(KvHandoffTest, BlocksThatAreAlreadyThereAreNotPushed) {
  Prompt(70, 3);
  handoff_->Start([](absl::Status) {});
  EXPECT_THAT(Push(0, 0, 32), IsEmpty());
  EXPECT_THAT(Push(0, 32, 64), ElementsAre(Pushed{0, 3, {3}}));
  EXPECT_THAT(Push(0, 64, 70), ElementsAre(Pushed{0, 4, {4}}));
}

TEST_F(KvHandoffTest, CachedBlocksThatTheDecodeNodeLacksArePushedFirst) {
  Prompt(70, 1);
  handoff_->Start([](absl::Status) {});
  sequence_.computed = 48;  // three cached blocks
  handoff_->PushCached(sequence_);
  EXPECT_THAT(sender_.push->sent, ElementsAre(Pushed{0, 1, {1, 2}}, Pushed{1, 1, {1, 2}}));
  EXPECT_THAT(Push(0, 48, 70), ElementsAre(Pushed{0, 3, {3, 4}}));
}

TEST_F(KvHandoffTest, CachedBlocksThatTheDecodeNodeHasTooAreNotPushed) {
  Prompt(70, 3);
  handoff_->Start([](absl::Status) {});
  sequence_.computed = 48;
  handoff_->PushCached(sequence_);
  EXPECT_THAT(sender_.push->sent, IsEmpty());
}

TEST_F(KvHandoffTest, CommitNamesThePromptsLengthAndTheFirstToken) {
  Prompt(20);
  handoff_->Start([](absl::Status) {});
  sequence_.tokens.push_back(42);  // the first token counts for nothing here
  v1::Token token;
  token.set_id(42);
  handoff_->Commit(sequence_, token);
  EXPECT_EQ(sender_.push->committed_tokens, 20);
  EXPECT_EQ(sender_.push->first_token_id, 42);
  EXPECT_EQ(handoff_->bytes_sent(), 99);
}

TEST_F(KvHandoffTest, ACancelBeforeTheStartIsNotForgotten) {
  Prompt(20);
  handoff_->Cancel();
  EXPECT_EQ(handoff_->bytes_sent(), 0);
  handoff_->Start([](absl::Status) {});
  EXPECT_EQ(sender_.push->cancels, 1);
}

}  // namespace
}  // namespace baton::prefill_node
