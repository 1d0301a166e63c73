// Two nodes' stores, a sink with one lease and a receiver: what every test of a hand-over needs.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "kvcache/transfer/frame_checksum.h"
#include "kvcache/transfer/kv_receiver.h"
#include "kvcache/transfer/kv_sender.h"
#include "tests/fakes/fake_kv_sink.h"
#include "tests/fakes/memory_device.h"

namespace baton::kvcache {

inline constexpr uint64_t kDecodeIncarnation = 0xd0;
inline constexpr uint64_t kFingerprint = 0xabcdef;
inline const char kAddress[] = "decode:1";

struct TransferEnds {
  // A block of one layer is 512 bytes with the geometry that is the default.
  explicit TransferEnds(int32_t blocks = 8, int64_t window_bytes = 16 << 20,
                        device::KvGeometry geometry = {.layers = 3,
                                                       .kv_heads = 2,
                                                       .head_dim = 4,
                                                       .block_tokens = 16,
                                                       .dtype = device::DType::kF16})
      : layout{.version = 1, .geometry = geometry, .model_fingerprint = kFingerprint},
        sink(geometry.layers) {
    source = KvStore::Create(device, geometry, blocks).value();
    target = KvStore::Create(device, geometry, blocks).value();
    SeededRng rng(7);
    ForEachBlock(*source, [&rng](uint8_t* bytes, size_t size) {
      for (size_t i = 0; i < size; i += 8) {
        const uint64_t word = rng.Next();
        std::memcpy(bytes + i, &word, 8);
      }
    });
    receiver = KvReceiver::Create(
        sink, *target, layout, {.incarnation = kDecodeIncarnation, .window_bytes = window_bytes});
    ticket.set_id(std::string(16, 't'));
    ticket.set_epoch(5);
    // The last block of the target's store is never leased: nothing may ever be written there.
    for (int32_t block = blocks - 2; block >= 0; --block) target_blocks.push_back(block);
    for (int32_t block = 0; block < blocks - 1; ++block) source_blocks.push_back(block);
    sink.AddLease(ticket.id(), target_blocks, ticket.epoch());
  }

  template <typename Visit>
  static void ForEachBlock(const KvStore& store, const Visit& visit) {
    for (int32_t layer = 0; layer < store.geometry().layers; ++layer) {
      for (int32_t block = 0; block < store.blocks(); ++block) {
        visit(store.BlockLayer(layer, block), store.geometry().BlockLayerBytes());
      }
    }
  }

  // A frame that the receiver accepts.
  IncomingFrame Frame(int32_t layer, int32_t block_begin, int32_t block_count) const {
    IncomingFrame frame;
    v1::KvManifest& m = frame.manifest;
    *m.mutable_ticket() = ticket;
    m.set_decode_incarnation(kDecodeIncarnation);
    m.set_model_fingerprint(kFingerprint);
    m.set_layout_version(1);
    m.set_layer(layer);
    m.set_block_begin(block_begin);
    m.set_block_count(block_count);
    for (int32_t i = 0; i < block_count; ++i) {
      const size_t bytes = layout.geometry.BlockLayerBytes();
      frame.payload.push_back({source->BlockLayer(layer, source_blocks[block_begin + i]), bytes});
      frame.payload_bytes += static_cast<int64_t>(bytes);
    }
    m.set_payload_xxh3(PayloadXxh3(frame.payload));
    m.set_manifest_xxh3(ManifestXxh3(m));
    return frame;
  }

  IncomingFrame Commit(int32_t prompt_tokens = 100) const {
    IncomingFrame frame;
    frame.has_commit = true;
    *frame.commit.mutable_ticket() = ticket;
    frame.commit.set_decode_incarnation(kDecodeIncarnation);
    frame.commit.set_prompt_tokens(prompt_tokens);
    frame.commit.mutable_first_token()->set_id(42);
    frame.commit.set_commit_xxh3(CommitXxh3(frame.commit));
    return frame;
  }

  int32_t lease_blocks() const { return static_cast<int32_t>(target_blocks.size()); }

  // Whether the leased blocks hold exactly what the source holds.
  bool TargetEqualsSource() const {
    const size_t bytes = layout.geometry.BlockLayerBytes();
    for (int32_t layer = 0; layer < layout.geometry.layers; ++layer) {
      for (size_t i = 0; i < target_blocks.size(); ++i) {
        if (std::memcmp(target->BlockLayer(layer, target_blocks[i]),
                        source->BlockLayer(layer, source_blocks[i]), bytes) != 0) {
          return false;
        }
      }
    }
    return true;
  }

  bool TargetIsUntouched() const {
    bool untouched = true;
    ForEachBlock(*target, [&untouched](const uint8_t* bytes, size_t size) {
      for (size_t i = 0; i < size; ++i) untouched = untouched && bytes[i] == 0;
    });
    return untouched;
  }

  // Queues everything of the hand-over, layer by layer.
  void SendAll(KvPush& push) const {
    for (int32_t layer = 0; layer < layout.geometry.layers; ++layer) {
      push.SendBlocks(layer, 0, source_blocks);
    }
    push.Commit(100, v1::Token());
  }

  KvPushTarget Target(const std::string& address = kAddress) const {
    return {.address = address, .decode_incarnation = kDecodeIncarnation, .ticket = ticket};
  }

  fakes::MemoryDevice device;
  KvLayout layout;
  std::unique_ptr<KvStore> source, target;
  fakes::FakeKvSink sink;
  std::unique_ptr<KvReceiver> receiver;
  v1::Ticket ticket;
  std::vector<int32_t> source_blocks, target_blocks;
};

}  // namespace baton::kvcache
