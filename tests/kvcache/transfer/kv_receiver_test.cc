#include "kvcache/transfer/kv_receiver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "kvcache/transfer/kv_layout_proto.h"
#include "tests/kvcache/transfer/transfer_ends.h"

namespace baton::kvcache {
namespace {

using absl::StatusCode;
using Change = std::function<void(IncomingFrame&)>;

// Applies `change` to a good frame, with the manifest's checksum made good again: the field itself
// must be refused.
void ExpectRefused(const Change& change, StatusCode code, const std::string& words) {
  TransferEnds ends;
  IncomingFrame frame = ends.Frame(1, 2, 3);
  change(frame);
  frame.manifest.set_manifest_xxh3(ManifestXxh3(frame.manifest));
  const absl::StatusOr<v1::KvAck> ack = ends.receiver->OpenStream()->OnFrame(frame);
  EXPECT_EQ(ack.status().code(), code) << ack.status() << frame.manifest.ShortDebugString();
  EXPECT_THAT(std::string(ack.status().message()), testing::HasSubstr(words));
  EXPECT_TRUE(ends.TargetIsUntouched()) << frame.manifest.ShortDebugString();
  EXPECT_EQ(ends.sink.present(ends.ticket.id()), 0);
  EXPECT_EQ(ends.sink.live_grants(), 0);
  EXPECT_EQ(ends.receiver->stats().frames, 0);
}

TEST(KvReceiver, AGoodFrameLandsInItsBlocksAndItsBytesAreCreditedAgain) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  for (int32_t layer = 0; layer < 3; ++layer) {
    auto ack = stream->OnFrame(ends.Frame(layer, 0, ends.lease_blocks()));
    ASSERT_TRUE(ack.ok()) << ack.status();
    EXPECT_EQ(ack->credit_bytes(), ends.lease_blocks() * 512);
    EXPECT_FALSE(ack->committed());
  }
  auto ack = stream->OnFrame(ends.Commit(77));
  ASSERT_TRUE(ack.ok()) << ack.status();
  EXPECT_TRUE(ack->committed());
  EXPECT_TRUE(ends.TargetEqualsSource());
  ASSERT_EQ(ends.sink.commits().size(), 1u);
  EXPECT_EQ(ends.sink.commits()[0].prompt_tokens(), 77);
  EXPECT_EQ(ends.receiver->stats().bytes, 3 * ends.lease_blocks() * 512);
  EXPECT_EQ(ends.receiver->stats().frames, 3);
}

TEST(KvReceiver, PiecesOfAnySizeGiveTheSameBytes) {
  for (size_t cut = 1; cut < 600; cut += 37) {
    TransferEnds ends;
    auto stream = ends.receiver->OpenStream();
    for (int32_t layer = 0; layer < 3; ++layer) {
      IncomingFrame frame = ends.Frame(layer, 0, ends.lease_blocks());
      std::vector<absl::Span<const uint8_t>> pieces;
      for (absl::Span<const uint8_t> block : frame.payload) {
        while (!block.empty()) {
          pieces.push_back(block.subspan(0, cut));
          block.remove_prefix(pieces.back().size());
        }
        pieces.push_back({});
      }
      frame.payload = pieces;
      ASSERT_TRUE(stream->OnFrame(frame).ok());
    }
    EXPECT_TRUE(ends.TargetEqualsSource()) << "pieces of " << cut;
  }
}

TEST(KvReceiver, RangesAndLengthsOutsideAreRefusedBeforeAByteIsWritten) {
  const std::vector<int32_t> wild = {INT32_MIN, INT32_MIN + 1, -512, -1, INT32_MAX - 1, INT32_MAX};
  for (int32_t value : wild) {
    SCOPED_TRACE(value);
    ExpectRefused([=](IncomingFrame& f) { f.manifest.set_layer(value); },
                  StatusCode::kInvalidArgument, "layer");
    ExpectRefused([=](IncomingFrame& f) { f.manifest.set_block_begin(value); },
                  StatusCode::kInvalidArgument, "block");
    ExpectRefused([=](IncomingFrame& f) { f.manifest.set_block_count(value); },
                  StatusCode::kInvalidArgument, "block");
  }
  ExpectRefused([](IncomingFrame& f) { f.manifest.set_layer(3); }, StatusCode::kInvalidArgument,
                "layer 3, allowed are 0 to 2");
  // One too far in the lease of 7 blocks, one block more and one fewer than the payload has, none.
  ExpectRefused([](IncomingFrame& f) { f.manifest.set_block_begin(5); },
                StatusCode::kInvalidArgument, "outside the lease");
  for (int32_t count : {0, 2, 4, 8, 9, 1 << 30}) {
    ExpectRefused([=](IncomingFrame& f) { f.manifest.set_block_count(count); },
                  StatusCode::kInvalidArgument, "block");
  }
  for (int64_t bytes : {int64_t{-1}, int64_t{0}, int64_t{1535}, int64_t{1537}, INT64_MIN}) {
    ExpectRefused([=](IncomingFrame& f) { f.payload_bytes = bytes; }, StatusCode::kInvalidArgument,
                  "payload");
  }
}

TEST(KvReceiver, IdentityOfNodeModelAndLayoutIsCheckedFirst) {
  for (uint64_t other : {uint64_t{0}, kDecodeIncarnation - 1, kDecodeIncarnation + 1, UINT64_MAX}) {
    ExpectRefused([=](IncomingFrame& f) { f.manifest.set_decode_incarnation(other); },
                  StatusCode::kFailedPrecondition, "incarnation");
  }
  for (uint64_t other : {uint64_t{0}, kFingerprint - 1, kFingerprint + 1, UINT64_MAX}) {
    ExpectRefused([=](IncomingFrame& f) { f.manifest.set_model_fingerprint(other); },
                  StatusCode::kFailedPrecondition, "fingerprint");
  }
  for (uint32_t other : {0u, 2u, UINT32_MAX}) {
    ExpectRefused([=](IncomingFrame& f) { f.manifest.set_layout_version(other); },
                  StatusCode::kFailedPrecondition, "layout version");
  }
  // The order of checks: a wrong incarnation wins over a wrong range.
  ExpectRefused(
      [](IncomingFrame& f) {
        f.manifest.set_decode_incarnation(1);
        f.manifest.set_layer(-1);
      },
      StatusCode::kFailedPrecondition, "incarnation");
}

TEST(KvReceiver, TicketsOfAnotherSizeUnknownOnesAndOldEpochsAreRefused) {
  for (size_t size : {0, 1, 15, 17, 4096}) {
    ExpectRefused(
        [=](IncomingFrame& f) { f.manifest.mutable_ticket()->set_id(std::string(size, 't')); },
        StatusCode::kInvalidArgument, "ticket id");
  }
  ExpectRefused([](IncomingFrame& f) { f.manifest.mutable_ticket()->set_id(std::string(16, 'u')); },
                StatusCode::kNotFound, "ticket");
  for (uint64_t epoch : {0, 1, 4}) {
    ExpectRefused([=](IncomingFrame& f) { f.manifest.mutable_ticket()->set_epoch(epoch); },
                  StatusCode::kAborted, "epoch");
  }
}

TEST(KvReceiver, ANewerEpochInvalidatesWhatOlderOnesWrote) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  ASSERT_TRUE(stream->OnFrame(ends.Frame(0, 0, 7)).ok());
  ends.ticket.set_epoch(6);
  ASSERT_TRUE(stream->OnFrame(ends.Frame(1, 0, 1)).ok());
  EXPECT_EQ(ends.sink.present(ends.ticket.id()), 1);
  ends.ticket.set_epoch(5);
  EXPECT_EQ(stream->OnFrame(ends.Frame(2, 0, 1)).status().code(), StatusCode::kAborted);
}

TEST(KvReceiver, APayloadLargerThanTheWindowExceedsTheCredit) {
  TransferEnds ends(8, 1024);
  auto stream = ends.receiver->OpenStream();
  EXPECT_TRUE(stream->OnFrame(ends.Frame(0, 0, 2)).ok());
  const auto refused = stream->OnFrame(ends.Frame(0, 0, 3));
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted) << refused.status();
  EXPECT_EQ(ends.sink.begun_writes(), 1);
}

TEST(KvReceiver, ADamagedPayloadNeverBecomesVisibleAndIsAskedForAgain) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  const IncomingFrame good = ends.Frame(0, 1, 2);
  for (size_t damaged_byte : {0, 511, 300}) {
    std::vector<uint8_t> damaged(good.payload[1].begin(), good.payload[1].end());
    damaged[damaged_byte] ^= 1;
    IncomingFrame bad = good;
    bad.payload[1] = damaged;
    auto ack = stream->OnFrame(bad);
    ASSERT_EQ(ack.ok(), damaged_byte != 300) << "the third time ends the stream";
    EXPECT_TRUE(ends.TargetIsUntouched());
    if (!ack.ok()) {
      EXPECT_EQ(ack.status().code(), StatusCode::kDataLoss);
      EXPECT_THAT(std::string(ack.status().message()), testing::HasSubstr("layer 0, 2 blocks"));
      break;
    }
    EXPECT_EQ(ack->credit_bytes(), 1024);
    ASSERT_EQ(ack->resend_size(), 1);
    EXPECT_EQ(ack->resend(0).SerializeAsString(), good.manifest.SerializeAsString());
  }
  EXPECT_EQ(ends.receiver->stats().frames_refused, 3);
}

TEST(KvReceiver, AFrameThatArrivesIntactIsCountedFromZeroAgain) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  const IncomingFrame good = ends.Frame(0, 0, 1);
  IncomingFrame bad = good;
  bad.payload[0] = ends.Frame(1, 0, 1).payload[0];
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(stream->OnFrame(bad).ok());
    EXPECT_TRUE(stream->OnFrame(bad).ok());
    EXPECT_TRUE(stream->OnFrame(good).ok());
  }
}

TEST(KvReceiver, EveryDamagedBitOfAManifestIsNoticed) {
  TransferEnds ends;
  const IncomingFrame good = ends.Frame(1, 2, 3);
  const std::string bytes = good.manifest.SerializeAsString();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] ^= static_cast<char>(1 << bit % 8);
    IncomingFrame frame = good;
    if (!frame.manifest.ParseFromString(damaged)) continue;
    EXPECT_FALSE(ends.receiver->OpenStream()->OnFrame(frame).ok()) << "bit " << bit;
    ASSERT_TRUE(ends.TargetIsUntouched()) << "bit " << bit;
  }
  EXPECT_EQ(ends.sink.begun_writes(), 0);
}

TEST(KvReceiver, EveryDamagedBitOfACommitIsNoticed) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  for (int32_t layer = 0; layer < 3; ++layer) {
    ASSERT_TRUE(stream->OnFrame(ends.Frame(layer, 0, 7)).ok());
  }
  const std::string bytes = ends.Commit().commit.SerializeAsString();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] ^= static_cast<char>(1 << bit % 8);
    IncomingFrame frame;
    frame.has_commit = true;
    if (!frame.commit.ParseFromString(damaged)) continue;
    EXPECT_FALSE(stream->OnFrame(frame).ok()) << "bit " << bit;
  }
  EXPECT_EQ(ends.sink.commits().size(), 0u);
}

TEST(KvReceiver, ACommitWithABlockMissingOrFieldsOutsideIsRefused) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  for (int32_t layer = 0; layer < 3; ++layer) {
    ASSERT_TRUE(stream->OnFrame(ends.Frame(layer, 0, layer == 1 ? 6 : 7)).ok());
  }
  const auto refused = stream->OnFrame(ends.Commit());
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(stream->OnFrame(ends.Frame(1, 6, 1)).ok());

  for (int32_t tokens : {0, -1, INT32_MIN}) {
    EXPECT_EQ(stream->OnFrame(ends.Commit(tokens)).status().code(), StatusCode::kInvalidArgument);
  }
  IncomingFrame other = ends.Commit();
  other.commit.set_decode_incarnation(1);
  EXPECT_EQ(stream->OnFrame(other).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(ends.sink.commits().size(), 0u);
  EXPECT_TRUE(stream->OnFrame(ends.Commit()).ok());
}

TEST(KvReceiver, ATicketIsUsedOnce) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  for (int32_t layer = 0; layer < 3; ++layer) {
    ASSERT_TRUE(stream->OnFrame(ends.Frame(layer, 0, 7)).ok());
  }
  ASSERT_TRUE(stream->OnFrame(ends.Commit()).ok());
  EXPECT_EQ(stream->OnFrame(ends.Commit()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(stream->OnFrame(ends.Frame(0, 0, 1)).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ends.sink.commits().size(), 1u);
}

TEST(KvReceiver, ACommitThatOvertookARefusalWaitsForTheFrame) {
  TransferEnds ends;
  auto stream = ends.receiver->OpenStream();
  for (int32_t layer = 0; layer < 2; ++layer) {
    ASSERT_TRUE(stream->OnFrame(ends.Frame(layer, 0, 7)).ok());
  }
  IncomingFrame bad = ends.Frame(2, 0, 7);
  bad.payload[0] = ends.Frame(0, 0, 7).payload[0];
  ASSERT_TRUE(stream->OnFrame(bad).ok());
  const auto early = stream->OnFrame(ends.Commit());
  ASSERT_TRUE(early.ok());
  EXPECT_FALSE(early->committed());
  ASSERT_TRUE(stream->OnFrame(ends.Frame(2, 0, 7)).ok());
  const auto again = stream->OnFrame(ends.Commit());
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->committed());
  EXPECT_TRUE(ends.TargetEqualsSource());
}

TEST(KvReceiver, PairingNamesTheFieldThatDiffers) {
  TransferEnds ends;
  v1::PairRequest request;
  *request.mutable_layout() = ToProto(ends.layout);
  auto reply = ends.receiver->Pair(request);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->incarnation(), kDecodeIncarnation);
  EXPECT_EQ(reply->window_bytes(), 16 << 20);
  request.mutable_layout()->set_block_tokens(64);  // is converted
  EXPECT_TRUE(ends.receiver->Pair(request).ok());
  request.mutable_layout()->set_block_tokens(48);
  auto refused = ends.receiver->Pair(request);
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.status().message(), "kv layout differs in block_tokens: ours 16, theirs 48");
  request.mutable_layout()->set_block_tokens(16);
  request.mutable_layout()->set_dtype("int8");
  EXPECT_EQ(ends.receiver->Pair(request).status().message(),
            "kv layout differs in dtype: ours f16, theirs int8");
}

}  // namespace
}  // namespace baton::kvcache
