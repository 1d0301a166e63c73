// HandoverWorld's network and what stands between it and the leases.
#include <algorithm>
#include <utility>

#include "kvcache/transfer/frame_checksum.h"
#include "tests/simulation/handover_parts.h"

namespace baton::simulation {

absl::StatusOr<std::unique_ptr<kvcache::KvSink::WriteGrant>> HandoverWorld::Sink::BeginWrite(
    const v1::KvManifest& manifest) {
  auto grant = node_.intake->BeginWrite(Seen(manifest));
  if (grant.ok()) node_.leases[manifest.ticket().id()].touched = world_.queue_.now();
  return grant;
}

void HandoverWorld::Sink::EndWrite(const v1::KvManifest& manifest) {
  node_.intake->EndWrite(Seen(manifest));
}

absl::Status HandoverWorld::Sink::Commit(const v1::KvCommit& commit) {
  const auto lease = node_.leases.find(commit.ticket().id());
  if (world_.broken_ == Broken::kCommitWithHoles && lease != node_.leases.end()) {
    v1::KvManifest all;
    *all.mutable_ticket() = commit.ticket();
    all.set_block_count(lease->second.blocks);
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      all.set_layer(layer);
      node_.intake->EndWrite(all);
    }
  }
  node_.committing = commit.ticket().id();
  return node_.intake->Commit(commit);
}

v1::KvManifest HandoverWorld::Sink::Seen(v1::KvManifest manifest) {
  uint64_t& newest = newest_[manifest.ticket().id()];
  newest = std::max(newest, manifest.ticket().epoch());
  if (world_.broken_ == Broken::kEpochUnchecked) manifest.mutable_ticket()->set_epoch(newest);
  return manifest;
}

HandoverWorld::Stream::Stream(HandoverWorld& world, Prefill& from, Decode& to, Events events)
    : world_(world),
      from_(from),
      from_incarnation_(from.incarnation),
      to_(to),
      to_incarnation_(to.incarnation),
      events_(std::move(events)),
      number_(world.streams_++) {
  if (!to.up) return;
  receiver_ = to.receiver->OpenStream();
  to.streams[number_] = this;
}

HandoverWorld::Stream::~Stream() { to_.streams.erase(number_); }

void HandoverWorld::Stream::Send(kvcache::OutgoingFrame frame) {
  if (receiver_ == nullptr) return Close(absl::UnavailableError("nobody listens"));
  auto packet = std::make_shared<Packet>();
  packet->manifest = frame.manifest;
  for (const auto& piece : frame.payload) {
    packet->bytes.insert(packet->bytes.end(), piece.begin(), piece.end());
  }
  packet->commit = std::move(frame.commit);
  const absl::Time arrival =
      std::max({world_.queue_.now() + world_.NetworkDelay(), last_arrival_, to_.clogged_until});
  const bool data = packet->commit == nullptr;
  if (world_.faults_ && data && world_.Chance(0.03)) Damage(*packet);
  if (world_.faults_ && data && world_.Chance(0.03)) {
    // This one is late: those behind it overtake it.
    ++world_.tally_.reordered;
    return Deliver(packet, arrival + absl::Milliseconds(30));
  }
  last_arrival_ = arrival;
  Deliver(packet, arrival);
  if (world_.faults_ && data && world_.Chance(0.05)) {
    ++world_.tally_.duplicated;
    Deliver(packet, arrival + absl::Milliseconds(static_cast<int64_t>(world_.Below(40))));
  }
}

void HandoverWorld::Stream::Break() {
  receiver_.reset();
  Close(absl::UnavailableError("the connection broke"));
}

void HandoverWorld::Stream::Damage(Packet& packet) {
  ++world_.tally_.damaged;
  packet.bytes[world_.Below(packet.bytes.size())] ^= 0x40;
  if (world_.broken_ != Broken::kChecksumUnchecked) return;
  const absl::Span<const uint8_t> payload = packet.bytes;
  packet.manifest.set_payload_xxh3(kvcache::PayloadXxh3({payload}));
  packet.manifest.set_manifest_xxh3(kvcache::ManifestXxh3(packet.manifest));
}

void HandoverWorld::Stream::Deliver(const std::shared_ptr<Packet>& packet, absl::Time arrival) {
  world_.OnLife(to_, to_incarnation_, arrival - world_.queue_.now(),
                [self = shared_from_this(), packet] { self->Arrived(*packet); });
}

void HandoverWorld::Stream::Arrived(const Packet& packet) {
  if (closed_ || receiver_ == nullptr) return;
  kvcache::IncomingFrame frame;
  frame.manifest = packet.manifest;
  frame.has_commit = packet.commit != nullptr;
  if (frame.has_commit) {
    frame.commit = *packet.commit;
  } else {
    frame.payload = {absl::Span<const uint8_t>(packet.bytes)};
    frame.payload_bytes = static_cast<int64_t>(packet.bytes.size());
  }
  const absl::StatusOr<v1::KvAck> ack = receiver_->OnFrame(frame);
  if (!ack.ok()) {
    ++world_.tally_.refused;
    return Close(ack.status());
  }
  world_.tally_.refused += ack->resend_size();
  last_ack_ =
      std::max({world_.queue_.now() + world_.NetworkDelay(), from_.clogged_until, last_ack_});
  world_.OnLife(from_, from_incarnation_, last_ack_ - world_.queue_.now(),
                [self = shared_from_this(), ack = *ack] {
                  if (!self->closed_) self->events_.on_ack(ack);
                  if (ack.committed()) self->Close(absl::OkStatus());
                });
}

void HandoverWorld::Stream::Close(const absl::Status& status) {
  if (std::exchange(closed_, true)) return;
  world_.OnLife(from_, from_incarnation_, world_.NetworkDelay(),
                [self = shared_from_this(), status] { self->events_.on_closed(status); });
}

absl::StatusOr<v1::PairReply> HandoverWorld::Wire::Pair(const std::string& address,
                                                        const v1::PairRequest& request,
                                                        absl::Duration) {
  Decode& to = Find(address);
  if (!to.up) return absl::UnavailableError("nobody listens");
  return to.receiver->Pair(request);
}

std::shared_ptr<kvcache::PushStream> HandoverWorld::Wire::OpenPush(
    const std::string& address, absl::Duration, kvcache::PushStream::Events events) {
  return std::make_shared<Stream>(world_, from_, Find(address), std::move(events));
}

HandoverWorld::Decode& HandoverWorld::Wire::Find(const std::string& address) {
  return **std::find_if(world_.decode_.begin(), world_.decode_.end(),
                        [&](const auto& node) { return node->name == address; });
}

}  // namespace baton::simulation
