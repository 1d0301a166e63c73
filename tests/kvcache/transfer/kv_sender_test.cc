#include "kvcache/transfer/kv_sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

#include "kvcache/transfer/memory_transport.h"
#include "tests/kvcache/transfer/outcome.h"
#include "tests/kvcache/transfer/transfer_ends.h"

namespace baton::kvcache {
namespace {

using absl::StatusCode;
using Fault = MemoryTransport::Fault;

class KvSenderTest : public testing::Test {
 protected:
  void Listen(int64_t window_bytes = 16 << 20,
              absl::Duration progress_timeout = absl::Seconds(10)) {
    ends_.emplace(8, window_bytes);
    transport_.emplace();
    transport_->Listen(kAddress, ends_->receiver.get());
    sender_ = KvSender::Create(*transport_, *ends_->source, ends_->layout,
                               {.node_id = "prefill",
                                .incarnation = 1,
                                .pair_timeout = absl::Seconds(1),
                                .progress_timeout = progress_timeout});
  }
  // Delivers frames until the hand-over is over.
  void PumpToEnd(const Outcome& outcome) {
    ASSERT_TRUE(Eventually([&] {
      while (transport_->Pump()) continue;
      return outcome.reports() > 0;
    }));
  }
  bool Sent(int64_t frames) {
    return Eventually([&] { return transport_->frames_sent() >= frames; });
  }

  // Hands everything over with one fault, and checks what must hold whatever it was.
  absl::Status HandOverWith(std::optional<Fault> fault, int64_t frame) {
    Listen(16 << 20, absl::Milliseconds(150));
    if (fault.has_value()) transport_->Inject(frame, *fault);
    Outcome outcome;
    auto push = sender_->Start(ends_->Target(), outcome.Callback());
    ends_->SendAll(*push);
    EXPECT_TRUE(Sent(4));
    PumpToEnd(outcome);
    sender_.reset();
    EXPECT_EQ(outcome.reports(), 1);
    const absl::Status status = outcome.status();
    if (status.ok()) {
      EXPECT_EQ(ends_->sink.commits().size(), 1u);
    }
    if (!ends_->sink.commits().empty()) {
      EXPECT_TRUE(ends_->TargetEqualsSource());
    }
    EXPECT_EQ(ends_->sink.live_grants(), 0);
    return status;
  }

  std::optional<TransferEnds> ends_;
  std::optional<MemoryTransport> transport_;
  std::unique_ptr<KvSender> sender_;
};

TEST_F(KvSenderTest, AllBlocksArriveAndTheFirstTokenWithThem) {
  Listen();
  Outcome outcome;
  auto push = sender_->Start(ends_->Target(), outcome.Callback());
  for (int32_t layer = 0; layer < 3; ++layer) {  // two chunks of a prompt
    push->SendBlocks(layer, 0, absl::MakeSpan(ends_->source_blocks).subspan(0, 3));
  }
  for (int32_t layer = 0; layer < 3; ++layer) {
    push->SendBlocks(layer, 3, absl::MakeSpan(ends_->source_blocks).subspan(3));
  }
  v1::Token token;
  token.set_id(77);
  push->Commit(105, token);
  PumpToEnd(outcome);
  EXPECT_TRUE(outcome.status().ok()) << outcome.status();
  EXPECT_TRUE(ends_->TargetEqualsSource());
  ASSERT_EQ(ends_->sink.commits().size(), 1u);
  EXPECT_EQ(ends_->sink.commits()[0].prompt_tokens(), 105);
  EXPECT_EQ(ends_->sink.commits()[0].first_token().id(), 77);
  EXPECT_EQ(push->bytes_sent(), 3 * 7 * 512);
  push->Cancel();  // after the end: nothing happens
  EXPECT_EQ(outcome.reports(), 1);
}

TEST_F(KvSenderTest, DuplicatedAndDelayedFramesAreHarmless) {
  for (int64_t frame = 0; frame < 3; ++frame) {
    EXPECT_TRUE(HandOverWith(Fault::kDuplicate, frame).ok()) << frame;
    EXPECT_TRUE(HandOverWith(Fault::kDropAck, frame).ok()) << frame;
    if (frame < 2) {
      EXPECT_TRUE(HandOverWith(Fault::kDelay, frame).ok()) << frame;
    }
  }
  // The commit itself: the second one finds the ticket used, after the first was acknowledged.
  EXPECT_TRUE(HandOverWith(Fault::kDuplicate, 3).ok());
  // A commit that overtakes the last frame is refused as a whole.
  EXPECT_EQ(HandOverWith(Fault::kDelay, 2).code(), StatusCode::kFailedPrecondition);
}

TEST_F(KvSenderTest, ADamagedPayloadIsSentAgain) {
  for (int64_t frame = 0; frame < 3; ++frame) {
    EXPECT_TRUE(HandOverWith(Fault::kCorruptPayload, frame).ok()) << frame;
    EXPECT_EQ(ends_->receiver->stats().frames_refused, 1);
    EXPECT_EQ(ends_->receiver->stats().frames, 3);
  }
}

TEST_F(KvSenderTest, AFrameDamagedThreeTimesIsADataLoss) {
  Listen();
  Outcome outcome;
  transport_->Inject(0, Fault::kCorruptPayload);
  auto push = sender_->Start(ends_->Target(), outcome.Callback());
  ends_->SendAll(*push);
  ASSERT_TRUE(Sent(4));
  transport_->Inject(0, Fault::kCorruptPayload);  // number 4: the frame again; 5: the commit again
  transport_->Inject(2, Fault::kCorruptPayload);
  PumpToEnd(outcome);
  EXPECT_EQ(outcome.status().code(), StatusCode::kDataLoss) << outcome.status();
  EXPECT_EQ(push->bytes_sent(), 5 * 7 * 512);
  EXPECT_TRUE(ends_->sink.commits().empty());
}

TEST_F(KvSenderTest, ADamagedManifestOrCommitEndsTheHandOver) {
  for (int64_t frame = 0; frame < 4; ++frame) {
    // Layer 2 becomes layer 3, which does not exist: that is seen first.
    EXPECT_EQ(HandOverWith(Fault::kCorruptManifest, frame).code(),
              frame == 2 ? StatusCode::kInvalidArgument : StatusCode::kDataLoss);
    EXPECT_TRUE(ends_->sink.commits().empty());
  }
}

TEST_F(KvSenderTest, ALostFrameNeverCommits) {
  for (int64_t frame = 0; frame < 3; ++frame) {
    EXPECT_EQ(HandOverWith(Fault::kDrop, frame).code(), StatusCode::kFailedPrecondition) << frame;
    EXPECT_TRUE(ends_->sink.commits().empty());
  }
  EXPECT_EQ(HandOverWith(Fault::kDrop, 3).code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(ends_->sink.commits().empty());
}

TEST_F(KvSenderTest, ABrokenStreamIsReportedAtEveryPoint) {
  for (int64_t frame = 0; frame < 4; ++frame) {
    const absl::Status status = HandOverWith(Fault::kClose, frame);
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(kAddress));
  }
}

TEST_F(KvSenderTest, CancelAtEveryPointReportsOnce) {
  for (int pumped = 0; pumped <= 4; ++pumped) {
    Listen();
    Outcome outcome;
    auto push = sender_->Start(ends_->Target(), outcome.Callback());
    if (pumped > 0) {
      ends_->SendAll(*push);
      ASSERT_TRUE(Sent(4));
    }
    for (int i = 0; i < pumped; ++i) transport_->Pump();
    push->Cancel();
    ASSERT_TRUE(Eventually([&] { return outcome.reports() > 0; }));
    push->SendBlocks(0, 0, {0});  // after the end: ignored
    sender_.reset();
    EXPECT_EQ(outcome.reports(), 1) << pumped;
    EXPECT_EQ(outcome.status().code(), pumped == 4 ? StatusCode::kOk : StatusCode::kCancelled);
    EXPECT_EQ(ends_->sink.commits().size(), pumped == 4 ? 1u : 0u);
  }
}

TEST_F(KvSenderTest, DestroyingTheSenderEndsItsHandOvers) {
  Listen();
  Outcome outcome;
  auto push = sender_->Start(ends_->Target(), outcome.Callback());
  push->SendBlocks(0, 0, ends_->source_blocks);
  ASSERT_TRUE(Sent(1));
  sender_.reset();
  EXPECT_EQ(outcome.reports(), 1);
  EXPECT_EQ(outcome.status().code(), StatusCode::kCancelled);
  push->Cancel();
  push->SendBlocks(0, 0, {0});
}

TEST_F(KvSenderTest, APeerThatNobodyIsOrThatRestartedOrDiffersIsRefusedAtPairing) {
  Listen();
  {
    Outcome outcome;
    sender_->Start(ends_->Target("decode:2"), outcome.Callback());
    PumpToEnd(outcome);
    EXPECT_EQ(outcome.status().code(), StatusCode::kUnavailable) << outcome.status();
  }
  {
    Outcome outcome;
    KvPushTarget target = ends_->Target();
    target.decode_incarnation = kDecodeIncarnation + 1;
    sender_->Start(target, outcome.Callback());
    PumpToEnd(outcome);
    EXPECT_EQ(outcome.status().code(), StatusCode::kFailedPrecondition) << outcome.status();
    EXPECT_THAT(std::string(outcome.status().message()), testing::HasSubstr("incarnation"));
  }
  {
    Outcome outcome;
    KvLayout other = ends_->layout;
    other.model_fingerprint = 1;
    auto sender = KvSender::Create(*transport_, *ends_->source, other, {.node_id = "other"});
    sender->Start(ends_->Target(), outcome.Callback());
    PumpToEnd(outcome);
    EXPECT_EQ(outcome.status().code(), StatusCode::kFailedPrecondition) << outcome.status();
    EXPECT_THAT(std::string(outcome.status().message()), testing::HasSubstr("model_fingerprint"));
  }
}

TEST_F(KvSenderTest, ARestartedPeerIsPairedWithAnew) {
  Listen();
  const auto hand_over = [this](uint64_t incarnation) {
    ends_->sink.AddLease(ends_->ticket.id(), ends_->target_blocks, 5);
    Outcome outcome;
    KvPushTarget target = ends_->Target();
    target.decode_incarnation = incarnation;
    auto push = sender_->Start(target, outcome.Callback());
    ends_->SendAll(*push);
    PumpToEnd(outcome);
    return outcome.status();
  };
  EXPECT_TRUE(hand_over(kDecodeIncarnation).ok());
  auto restarted = KvReceiver::Create(ends_->sink, *ends_->target, ends_->layout,
                                      {.incarnation = 0xd1, .window_bytes = 1024});
  transport_->Listen(kAddress, restarted.get());
  // The pair is known, so it is the frames that the new incarnation refuses.
  EXPECT_EQ(hand_over(kDecodeIncarnation).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(hand_over(0xd1).ok());
  EXPECT_EQ(hand_over(kDecodeIncarnation).code(), StatusCode::kFailedPrecondition);
  sender_.reset();
}

TEST_F(KvSenderTest, AWindowSmallerThanABlockIsAClearError) {
  Listen(511);
  Outcome outcome;
  auto push = sender_->Start(ends_->Target(), outcome.Callback());
  PumpToEnd(outcome);
  EXPECT_EQ(outcome.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(outcome.status().message()), testing::HasSubstr("511"));
}

TEST_F(KvSenderTest, SilenceEndsTheHandOverAfterTheProgressTimeout) {
  Listen(16 << 20, absl::Milliseconds(100));
  Outcome outcome;
  auto push = sender_->Start(ends_->Target(), outcome.Callback());
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(outcome.reports(), 0) << "nothing is out: a slow prefill is no silence";
  push->SendBlocks(0, 0, ends_->source_blocks);
  ASSERT_TRUE(Eventually([&] { return outcome.reports() > 0; }));
  EXPECT_EQ(outcome.status().code(), StatusCode::kDeadlineExceeded) << outcome.status();
}

}  // namespace
}  // namespace baton::kvcache
