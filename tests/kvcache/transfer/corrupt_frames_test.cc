// 10,000 damaged frames: 10,000 refused before a byte of them is visible. 10,000 clean ones: none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/rng.h"
#include "kvcache/transfer/kv_frame.h"
#include "tests/kvcache/transfer/transfer_ends.h"

namespace baton::kvcache {
namespace {

constexpr int kFrames = 10'000;

// The frame as it stands on the wire.
std::string WireBytes(const IncomingFrame& frame) {
  OutgoingFrame out;
  out.manifest = frame.manifest;
  out.payload = frame.payload;
  if (frame.has_commit) out.commit = std::make_unique<v1::KvCommit>(frame.commit);
  grpc::ByteBuffer buffer = EncodeFrame(out, nullptr);
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// What a receiver makes of bytes from the wire. `stream` is new for each frame, as an error ends
// it.
absl::StatusOr<v1::KvAck> Receive(TransferEnds& ends, const std::string& bytes) {
  const grpc::Slice slice(bytes);
  grpc::ByteBuffer buffer(&slice, 1);
  std::vector<grpc::Slice> slices;
  absl::StatusOr<IncomingFrame> frame = DecodeFrame(buffer, slices);
  if (!frame.ok()) return frame.status();
  return ends.receiver->OpenStream()->OnFrame(*frame);
}

enum class Damage : uint8_t { kBit, kByte, kSwappedBytes, kZeroedRun, kTruncated, kCount };

// Damages `bytes` in a way and at a place that `rng` chooses; never leaves them as they were.
void Apply(Damage damage, SeededRng& rng, std::string* bytes) {
  const std::string before = *bytes;
  while (*bytes == before) {
    const size_t at = rng.Next() % bytes->size();
    switch (damage) {
      case Damage::kBit:
        (*bytes)[at] ^= static_cast<char>(1 << (rng.Next() % 8));
        break;
      case Damage::kByte:
        (*bytes)[at] = static_cast<char>(rng.Next());
        break;
      case Damage::kSwappedBytes:
        std::swap((*bytes)[at], (*bytes)[rng.Next() % bytes->size()]);
        break;
      case Damage::kZeroedRun:
        for (size_t i = at; i < std::min(bytes->size(), at + 64); ++i) (*bytes)[i] = 0;
        break;
      default:
        bytes->resize(at);
    }
  }
}

IncomingFrame SomeFrame(const TransferEnds& ends, SeededRng& rng) {
  if (rng.Next() % 8 == 0) return ends.Commit();
  const int32_t begin = static_cast<int32_t>(rng.Next() % ends.lease_blocks());
  const int32_t count = 1 + static_cast<int32_t>(rng.Next() % (ends.lease_blocks() - begin));
  return ends.Frame(static_cast<int32_t>(rng.Next() % 3), begin, count);
}

TEST(CorruptFrames, EveryDamagedFrameIsRefusedAndLeavesNoByte) {
  TransferEnds ends;
  SeededRng rng(20261125);
  int refused = 0;
  for (int i = 0; i < kFrames; ++i) {
    std::string bytes = WireBytes(SomeFrame(ends, rng));
    const auto damage = static_cast<Damage>(i % static_cast<int>(Damage::kCount));
    Apply(damage, rng, &bytes);
    const absl::StatusOr<v1::KvAck> ack = Receive(ends, bytes);
    // A payload that does not match its checksum is asked for again; everything else is an error.
    const bool asked_again = ack.ok() && ack->resend_size() == 1 && !ack->committed();
    ASSERT_TRUE(!ack.ok() || asked_again)
        << "frame " << i << ", damage " << static_cast<int>(damage);
    ++refused;
  }
  EXPECT_EQ(refused, kFrames);
  EXPECT_TRUE(ends.TargetIsUntouched());
  EXPECT_EQ(ends.sink.present(ends.ticket.id()), 0);
  EXPECT_TRUE(ends.sink.commits().empty());
  EXPECT_EQ(ends.sink.live_grants(), 0);
}

TEST(CorruptFrames, NoCleanFrameIsRefused) {
  TransferEnds ends;
  SeededRng rng(20261125);
  int accepted = 0;
  while (accepted < kFrames) {
    const IncomingFrame frame = SomeFrame(ends, rng);
    if (frame.has_commit) continue;  // the first one would end the lease
    const absl::StatusOr<v1::KvAck> ack = Receive(ends, WireBytes(frame));
    ASSERT_TRUE(ack.ok()) << ack.status();
    ASSERT_EQ(ack->resend_size(), 0);
    ASSERT_EQ(ack->credit_bytes(), frame.payload_bytes);
    ++accepted;
  }
  EXPECT_EQ(ends.receiver->stats().frames, kFrames);
  EXPECT_EQ(ends.receiver->stats().frames_refused, 0);
}

}  // namespace
}  // namespace baton::kvcache
