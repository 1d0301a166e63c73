#include "kvcache/transfer/kv_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "base/rng.h"
#include "kvcache/transfer/frame_checksum.h"

namespace baton::kvcache {
namespace {

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

grpc::ByteBuffer Buffer(const std::string& bytes, size_t piece) {
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < bytes.size(); i += piece) slices.emplace_back(bytes.substr(i, piece));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::string Joined(const IncomingFrame& frame) {
  std::string bytes;
  for (absl::Span<const uint8_t> piece : frame.payload) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return bytes;
}

absl::Status DecodeStatus(const std::string& bytes, size_t piece = 1 << 20) {
  grpc::ByteBuffer buffer = Buffer(bytes, piece);
  std::vector<grpc::Slice> slices;
  return DecodeFrame(buffer, slices).status();
}

v1::KvManifest Manifest() {
  v1::KvManifest manifest;
  manifest.mutable_ticket()->set_id(std::string("0123456789abcdef"));
  manifest.mutable_ticket()->set_epoch(3);
  manifest.set_decode_incarnation(0x1122334455667788);
  manifest.set_model_fingerprint(0x99);
  manifest.set_layout_version(1);
  manifest.set_layer(7);
  manifest.set_block_begin(300);
  manifest.set_block_count(2);
  manifest.set_payload_xxh3(1);
  return manifest;
}

v1::KvFrame FrameMessage(size_t payload_bytes) {
  v1::KvFrame message;
  *message.mutable_manifest() = Manifest();
  SeededRng rng(payload_bytes);
  std::string payload;
  for (size_t i = 0; i < payload_bytes; ++i) payload.push_back(static_cast<char>(rng.Next()));
  message.set_payload(payload);
  return message;
}

TEST(KvFrame, EncodedBytesAreAKvFrame) {
  for (size_t size : {0, 1, 127, 128, 16384, 100000}) {
    const v1::KvFrame expected = FrameMessage(size);
    const std::string& payload = expected.payload();
    OutgoingFrame frame;
    frame.manifest = expected.manifest();
    for (size_t i = 0; i < size; i += 777) {
      frame.payload.push_back(
          {reinterpret_cast<const uint8_t*>(payload.data()) + i, std::min<size_t>(777, size - i)});
    }
    v1::KvFrame parsed;
    ASSERT_TRUE(parsed.ParseFromString(Bytes(EncodeFrame(frame))));
    EXPECT_EQ(parsed.payload(), payload);
    EXPECT_EQ(parsed.manifest().SerializeAsString(), expected.manifest().SerializeAsString());
    EXPECT_FALSE(parsed.has_commit());
    if (size > 0) {
      EXPECT_EQ(Bytes(EncodeFrame(frame)), expected.SerializeAsString());
    }
  }
}

TEST(KvFrame, AnEncodedCommitIsAKvFrame) {
  v1::KvFrame expected;
  expected.mutable_commit()->set_prompt_tokens(9);
  expected.mutable_commit()->mutable_first_token()->set_id(123);
  OutgoingFrame frame;
  frame.commit = std::make_unique<v1::KvCommit>(expected.commit());
  EXPECT_EQ(Bytes(EncodeFrame(frame)), expected.SerializeAsString());
}

TEST(KvFrame, AKvFrameDecodesHoweverItIsCut) {
  const v1::KvFrame expected = FrameMessage(400);
  const std::string bytes = expected.SerializeAsString();
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    grpc::ByteBuffer buffer = Buffer(bytes, piece);
    std::vector<grpc::Slice> slices;
    auto frame = DecodeFrame(buffer, slices);
    ASSERT_TRUE(frame.ok()) << frame.status();
    EXPECT_EQ(frame->manifest.SerializeAsString(), expected.manifest().SerializeAsString());
    EXPECT_EQ(frame->payload_bytes, 400);
    EXPECT_EQ(Joined(*frame), expected.payload());
    EXPECT_FALSE(frame->has_commit);
  }
}

TEST(KvFrame, EveryTruncationIsRefused) {
  const std::string bytes = FrameMessage(40).SerializeAsString();
  const size_t header = bytes.size() - 42;  // tag and length of the payload take a byte each
  for (size_t length = 0; length < bytes.size(); ++length) {
    const absl::Status status = DecodeStatus(bytes.substr(0, length), 3);
    // A frame that ends after its manifest is well-formed; the receiver refuses it for its length.
    EXPECT_EQ(status.ok(), length == header) << length << " " << status;
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST(KvFrame, WhatIsNotAFrameIsRefused) {
  const std::string good = FrameMessage(4).SerializeAsString();
  const v1::KvFrame message = FrameMessage(4);
  v1::KvFrame only_manifest;
  *only_manifest.mutable_manifest() = message.manifest();
  const std::string manifest = only_manifest.SerializeAsString();
  v1::KvFrame only_commit;
  only_commit.mutable_commit()->set_prompt_tokens(1);
  const std::string commit = only_commit.SerializeAsString();
  const std::string payload = good.substr(manifest.size());
  const std::pair<const char*, std::string> cases[] = {
      {"nothing", ""},
      {"no manifest", payload},
      {"payload before the manifest", payload + manifest},
      {"two payloads", good + payload},
      {"two manifests", manifest + good},
      {"a commit with a payload", commit + payload},
      {"a manifest and a commit", manifest + commit},
      {"a commit and a manifest", commit + manifest},
      {"an unknown field", std::string("\x18\x01", 2) + good},
      {"a field of another wire type", std::string("\x08\x01", 2)},
      {"a number without end", std::string(11, '\xff')},
      {"a number of 65 bits", std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11)},
      {"a length of 2^64 - 1", std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11)},
      {"a manifest that does not parse", std::string("\x0a\x02\x0f\xff", 4)},
      {"a manifest of 65537 bytes", std::string("\x0a\x81\x80\x04", 4) + std::string(65537, 'x')},
  };
  for (const auto& [name, bytes] : cases) {
    EXPECT_EQ(DecodeStatus(bytes).code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(DecodeStatus(bytes, 1).code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(KvFrame, RandomDamageNeverCrashesTheDecoder) {
  const std::string good = FrameMessage(64).SerializeAsString();
  SeededRng rng(11);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (uint64_t i = rng.Next() % 6; i < 6; ++i) {
      bytes[rng.Next() % bytes.size()] = static_cast<char>(rng.Next());
    }
    if (rng.Next() % 4 == 0) bytes.resize(rng.Next() % bytes.size());
    grpc::ByteBuffer buffer = Buffer(bytes, 1 + rng.Next() % 50);
    std::vector<grpc::Slice> slices;
    auto frame = DecodeFrame(buffer, slices);
    if (frame.ok()) {
      EXPECT_EQ(frame->payload_bytes, static_cast<int64_t>(Joined(*frame).size()));
    }
  }
}

TEST(KvFrame, ThePinLivesAsLongAsTheBytesAreReferred) {
  std::atomic<int> dropped{0};
  const std::string payload(5000, 'p');
  {
    std::vector<grpc::Slice> kept;
    {
      OutgoingFrame frame;
      frame.manifest = Manifest();
      frame.payload.push_back({reinterpret_cast<const uint8_t*>(payload.data()), payload.size()});
      std::shared_ptr<void> pin(&dropped,
                                [](void* counter) { ++*static_cast<std::atomic<int>*>(counter); });
      const grpc::ByteBuffer buffer = EncodeFrame(frame, pin);
      ASSERT_TRUE(buffer.Dump(&kept).ok());
    }
    EXPECT_EQ(dropped, 0);
    EXPECT_EQ(kept.back().begin(), reinterpret_cast<const uint8_t*>(payload.data()))
        << "the payload is not copied";
  }
  EXPECT_EQ(dropped, 1);
}

TEST(FrameChecksum, IsTheSameHoweverThePayloadIsCut) {
  const v1::KvFrame message = FrameMessage(5000);
  const uint8_t* data = reinterpret_cast<const uint8_t*>(message.payload().data());
  const absl::Span<const uint8_t> all(data, 5000);
  const uint64_t expected = PayloadXxh3({all});
  for (size_t cut : {1, 63, 64, 1000, 4999}) {
    std::vector<absl::Span<const uint8_t>> pieces;
    for (size_t i = 0; i < all.size(); i += cut) pieces.push_back(all.subspan(i, cut));
    EXPECT_EQ(PayloadXxh3(pieces), expected) << cut;
  }
}

TEST(FrameChecksum, LeavesItsOwnFieldOut) {
  v1::KvManifest manifest = Manifest();
  const uint64_t before = ManifestXxh3(manifest);
  manifest.set_manifest_xxh3(before);
  EXPECT_EQ(ManifestXxh3(manifest), before);
  manifest.set_payload_xxh3(2);
  EXPECT_NE(ManifestXxh3(manifest), before);
}

}  // namespace
}  // namespace baton::kvcache
