// What a sender may have out, and what it makes of an untrustworthy peer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/mutex.h"
#include "kvcache/transfer/kv_sender.h"
#include "tests/kvcache/transfer/outcome.h"
#include "tests/kvcache/transfer/transfer_ends.h"

namespace baton::kvcache {
namespace {

using absl::StatusCode;

// A transport whose acks the test writes.
class ManualTransport final : public Transport {
 public:
  explicit ManualTransport(int64_t window_bytes) : window_bytes_(window_bytes) {}
  absl::StatusOr<v1::PairReply> Pair(const std::string&, const v1::PairRequest&,
                                     absl::Duration) override {
    v1::PairReply reply;
    reply.set_incarnation(kDecodeIncarnation);
    reply.set_window_bytes(window_bytes_);
    return reply;
  }
  std::shared_ptr<PushStream> OpenPush(const std::string&, absl::Duration,
                                       PushStream::Events events) override {
    events_ = std::move(events);
    return std::make_shared<Stream>(*this);
  }
  std::vector<OutgoingFrame> TakeFrames() {
    MutexLock lock(mutex_);
    return std::exchange(frames_, {});
  }
  bool has_frames() const {
    MutexLock lock(mutex_);
    return !frames_.empty();
  }
  void Ack(const v1::KvAck& ack) { events_.on_ack(ack); }
  void Close(absl::Status status) { events_.on_closed(std::move(status)); }

 private:
  class Stream final : public PushStream {
   public:
    explicit Stream(ManualTransport& transport) : transport_(transport) {}
    void Send(OutgoingFrame frame) override {
      MutexLock lock(transport_.mutex_);
      transport_.frames_.push_back(std::move(frame));
    }
    void Cancel() override { transport_.Close(absl::CancelledError("cancelled")); }

   private:
    ManualTransport& transport_;
  };
  const int64_t window_bytes_;
  PushStream::Events events_;
  mutable Mutex mutex_;
  std::vector<OutgoingFrame> frames_ ABSL_GUARDED_BY(mutex_);
};

int64_t PayloadBytes(const OutgoingFrame& frame) {
  int64_t bytes = 0;
  for (absl::Span<const uint8_t> piece : frame.payload) bytes += static_cast<int64_t>(piece.size());
  return bytes;
}

TEST(KvSenderCredit, UnacknowledgedBytesNeverExceedTheWindow) {
  for (int64_t window : {512, 513, 1300, 2048, 4000}) {
    TransferEnds ends;
    ManualTransport transport(window);
    auto sender = KvSender::Create(transport, *ends.source, ends.layout, {.node_id = "p"});
    Outcome outcome;
    auto push = sender->Start(ends.Target(), outcome.Callback());
    ends.SendAll(*push);
    int64_t out = 0, sent = 0;
    SeededRng rng(static_cast<uint64_t>(window));
    for (bool committed = false; !committed;) {
      ASSERT_TRUE(Eventually([&] { return transport.has_frames(); }));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // it might send too much now
      for (const OutgoingFrame& frame : transport.TakeFrames()) {
        committed = frame.commit != nullptr;
        out += PayloadBytes(frame);
        sent += PayloadBytes(frame);
        EXPECT_LE(PayloadBytes(frame), window);
      }
      ASSERT_LE(out, window);
      v1::KvAck ack;
      // Sometimes twice what is out, as a duplicated ack would grant: the window stays the limit.
      ack.set_credit_bytes(rng.Next() % 4 == 0 ? 2 * out : out);
      out = 0;
      transport.Ack(ack);
    }
    EXPECT_EQ(sent, 3 * 7 * 512);
    v1::KvAck done;
    done.set_committed(true);
    transport.Ack(done);
    EXPECT_EQ(outcome.reports(), 0) << "the transport may still read the blocks";
    transport.Close(absl::OkStatus());
    ASSERT_TRUE(Eventually([&] { return outcome.reports() > 0; }));
    EXPECT_TRUE(outcome.status().ok()) << outcome.status();
  }
}

TEST(KvSenderCredit, NonsenseFromThePeerEndsTheHandOverWithAnError) {
  TransferEnds ends;
  const auto outcome_of = [&ends](const v1::KvAck& ack) {
    ManualTransport transport(1 << 20);
    auto sender = KvSender::Create(transport, *ends.source, ends.layout, {.node_id = "p"});
    Outcome outcome;
    auto push = sender->Start(ends.Target(), outcome.Callback());
    push->SendBlocks(0, 0, ends.source_blocks);
    EXPECT_TRUE(Eventually([&] { return transport.has_frames(); }));
    transport.Ack(ack);
    transport.Close(absl::OkStatus());
    EXPECT_TRUE(Eventually([&] { return outcome.reports() > 0; }));
    return outcome.status().code();
  };
  v1::KvAck resend_unknown;
  resend_unknown.add_resend()->set_layer(2);
  EXPECT_EQ(outcome_of(resend_unknown), StatusCode::kInternal);
  v1::KvAck early_commit;
  early_commit.set_committed(true);
  EXPECT_EQ(outcome_of(early_commit), StatusCode::kUnavailable);
  v1::KvAck negative;
  negative.set_credit_bytes(INT64_MIN);
  EXPECT_EQ(outcome_of(negative), StatusCode::kUnavailable);
}

TEST(KvSenderFrames, OneLayerOfConsecutiveBlocksUpToAMebibyteEach) {
  // A block of one layer is 64 KiB here, so 16 make a frame.
  TransferEnds ends(41, 64 << 20,
                    {.layers = 2,
                     .kv_heads = 4,
                     .head_dim = 64,
                     .block_tokens = 64,
                     .dtype = device::DType::kF16});
  ManualTransport transport(64 << 20);
  auto sender = KvSender::Create(transport, *ends.source, ends.layout, {.node_id = "p"});
  Outcome outcome;
  auto push = sender->Start(ends.Target(), outcome.Callback());
  push->SendBlocks(1, 0, ends.source_blocks);  // 40 blocks
  std::vector<OutgoingFrame> frames;
  ASSERT_TRUE(Eventually([&] {
    for (OutgoingFrame& frame : transport.TakeFrames()) frames.push_back(std::move(frame));
    return frames.size() == 3;
  }));
  int32_t next = 0;
  for (const OutgoingFrame& frame : frames) {
    EXPECT_EQ(frame.manifest.layer(), 1);
    EXPECT_EQ(frame.manifest.block_begin(), next);
    next += frame.manifest.block_count();
    EXPECT_EQ(PayloadBytes(frame), frame.manifest.block_count() * (64 << 10));
    for (int32_t i = 0; i < frame.manifest.block_count(); ++i) {
      EXPECT_EQ(frame.payload[i].data(),
                ends.source->BlockLayer(1, frame.manifest.block_begin() + i))
          << "not a copy";
    }
  }
  EXPECT_EQ(next, 40);
  EXPECT_EQ(frames[0].manifest.block_count(), 16);
  EXPECT_EQ(frames[2].manifest.block_count(), 8);
  sender.reset();
}

}  // namespace
}  // namespace baton::kvcache
