#include "kvcache/transfer/kv_receiver.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kvcache/block_table.h"
#include "kvcache/transfer/block_bytes.h"
#include "kvcache/transfer/frame_checksum.h"
#include "kvcache/transfer/kv_layout_proto.h"

namespace baton::kvcache {
namespace {

// So often may one frame arrive damaged before the hand-over fails.
constexpr int kMaxRefusals = 3;
constexpr size_t kTicketIdBytes = 16;

struct Counters {
  std::atomic<int64_t> bytes{0}, frames{0}, frames_refused{0};
};

// What all streams of one receiver share.
struct Shared {
  KvSink& sink;
  const KvStore& store;
  const KvLayout layout;
  const KvReceiver::Options options;
  Counters counters;
};

absl::Status CheckTicket(const v1::Ticket& ticket) {
  if (ticket.id().size() == kTicketIdBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("kv frame: ticket id of %d bytes, need %d",
                                                    ticket.id().size(), kTicketIdBytes));
}

absl::Status CheckIncarnation(const Shared& shared, uint64_t incarnation) {
  if (incarnation == shared.options.incarnation) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("kv frame: meant for incarnation %016x of this node, which is %016x",
                      incarnation, shared.options.incarnation));
}

class Stream final : public KvReceiverStream {
 public:
  explicit Stream(Shared& shared) : shared_(shared) {}

  absl::StatusOr<v1::KvAck> OnFrame(const IncomingFrame& frame) override {
    if (frame.has_commit) return OnCommit(frame.commit);
    BATON_RETURN_IF_ERROR(CheckManifest(frame));
    const v1::KvManifest& manifest = frame.manifest;
    BATON_ASSIGN_OR_RETURN(std::unique_ptr<KvSink::WriteGrant> grant,
                           shared_.sink.BeginWrite(manifest));
    if (PayloadXxh3(frame.payload) != manifest.payload_xxh3()) return Refuse(frame);
    absl::Span<const int32_t> blocks = grant->block_ids();
    if (BlockTokensOf(manifest) == shared_.layout.geometry.block_tokens) {
      BATON_CHECK(blocks.size() == static_cast<size_t>(manifest.block_count()),
                  "a grant names the blocks of the manifest's range");
      CopyIntoBlocks(shared_.store, manifest.layer(), blocks, frame.payload);
    } else {
      ConvertIntoBlocks(shared_.store, manifest.layer(), blocks, grant->tokens(),
                        {.block_tokens = manifest.block_tokens(),
                         .block_begin = manifest.block_begin(),
                         .block_count = manifest.block_count(),
                         .payload = frame.payload});
    }
    shared_.sink.EndWrite(manifest);
    refusals_.erase(KeyOf(manifest));
    shared_.counters.bytes += frame.payload_bytes;
    shared_.counters.frames += 1;
    v1::KvAck ack;
    ack.set_credit_bytes(frame.payload_bytes);
    return ack;
  }

 private:
  using FrameKey = std::tuple<int32_t, int32_t, int32_t>;
  static FrameKey KeyOf(const v1::KvManifest& m) {
    return {m.layer(), m.block_begin(), m.block_count()};
  }

  int32_t BlockTokensOf(const v1::KvManifest& m) const {
    return m.block_tokens() == 0 ? shared_.layout.geometry.block_tokens : m.block_tokens();
  }

  // Everything that needs neither the lease nor the payload's bytes.
  absl::Status CheckManifest(const IncomingFrame& frame) const {
    const v1::KvManifest& manifest = frame.manifest;
    BATON_RETURN_IF_ERROR(CheckIncarnation(shared_, manifest.decode_incarnation()));
    if (manifest.model_fingerprint() != shared_.layout.model_fingerprint) {
      return absl::FailedPreconditionError(
          absl::StrFormat("kv frame: model fingerprint %016x, this node serves %016x",
                          manifest.model_fingerprint(), shared_.layout.model_fingerprint));
    }
    if (manifest.layout_version() != shared_.layout.version) {
      return absl::FailedPreconditionError(
          absl::StrFormat("kv frame: layout version %d, this node reads %d",
                          manifest.layout_version(), shared_.layout.version));
    }
    BATON_RETURN_IF_ERROR(CheckRange(frame));
    if (frame.payload_bytes > shared_.options.window_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("kv frame: a payload of %d bytes exceeds the credit of %d bytes",
                          frame.payload_bytes, shared_.options.window_bytes));
    }
    if (ManifestXxh3(manifest) != manifest.manifest_xxh3()) {
      shared_.counters.frames_refused += 1;
      return absl::DataLossError("kv frame: the manifest does not match its checksum");
    }
    return CheckTicket(manifest.ticket());
  }

  absl::Status CheckRange(const IncomingFrame& frame) const {
    const v1::KvManifest& m = frame.manifest;
    const device::KvGeometry& geometry = shared_.layout.geometry;
    if (m.layer() < 0 || m.layer() >= geometry.layers) {
      return absl::InvalidArgumentError(absl::StrFormat("kv frame: layer %d, allowed are 0 to %d",
                                                        m.layer(), geometry.layers - 1));
    }
    device::KvGeometry theirs = geometry;
    theirs.block_tokens = BlockTokensOf(m);
    if (theirs.block_tokens != 16 && theirs.block_tokens != 32 && theirs.block_tokens != 64) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "kv frame: block_tokens %d, allowed are 16, 32 and 64", m.block_tokens()));
    }
    // The pool bounds the count; the end is computed in 64 bits, so that nothing can wrap.
    const int64_t most =
        BlocksFor(int64_t{shared_.store.blocks()} * geometry.block_tokens, theirs.block_tokens);
    if (m.block_begin() < 0 || m.block_count() < 1 || m.block_count() > most ||
        int64_t{m.block_begin()} + m.block_count() > INT32_MAX) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "kv frame: %d blocks from block %d: need 1 to %d blocks from a block >= 0",
          m.block_count(), m.block_begin(), most));
    }
    const int64_t needed = m.block_count() * theirs.BlockLayerBytes();
    if (frame.payload_bytes == needed) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrFormat("kv frame: a payload of %d bytes, but %d blocks of a layer take %d",
                        frame.payload_bytes, m.block_count(), needed));
  }

  absl::StatusOr<v1::KvAck> Refuse(const IncomingFrame& frame) {
    const v1::KvManifest& m = frame.manifest;
    shared_.counters.frames_refused += 1;
    if (++refusals_[KeyOf(m)] >= kMaxRefusals) {
      return absl::DataLossError(
          absl::StrFormat("kv frame: layer %d, %d blocks from block %d: the payload did not match "
                          "its checksum %d times",
                          m.layer(), m.block_count(), m.block_begin(), kMaxRefusals));
    }
    v1::KvAck ack;
    ack.set_credit_bytes(frame.payload_bytes);
    *ack.add_resend() = m;
    return ack;
  }

  absl::StatusOr<v1::KvAck> OnCommit(const v1::KvCommit& commit) {
    BATON_RETURN_IF_ERROR(CheckIncarnation(shared_, commit.decode_incarnation()));
    if (CommitXxh3(commit) != commit.commit_xxh3()) {
      shared_.counters.frames_refused += 1;
      return absl::DataLossError("kv commit: does not match its checksum");
    }
    BATON_RETURN_IF_ERROR(CheckTicket(commit.ticket()));
    if (commit.prompt_tokens() < 1) {
      return absl::InvalidArgumentError(
          absl::StrFormat("kv commit: %d prompt tokens, need at least 1", commit.prompt_tokens()));
    }
    // The sender could not know of the refusal yet when it committed; it commits again after it has
    // sent the frame again.
    if (!refusals_.empty()) return v1::KvAck();
    BATON_RETURN_IF_ERROR(shared_.sink.Commit(commit));
    v1::KvAck ack;
    ack.set_committed(true);
    return ack;
  }

  Shared& shared_;
  // Frames that arrived damaged, how often, and did not arrive intact since.
  std::map<FrameKey, int> refusals_;
};

class Receiver final : public KvReceiver {
 public:
  Receiver(KvSink& sink, const KvStore& store, const KvLayout& layout, Options options)
      : shared_{sink, store, layout, options, {}} {}

  absl::StatusOr<v1::PairReply> Pair(const v1::PairRequest& request) override {
    BATON_RETURN_IF_ERROR(CheckConvertible(shared_.layout, request.layout()));
    v1::PairReply reply;
    reply.set_incarnation(shared_.options.incarnation);
    reply.set_window_bytes(shared_.options.window_bytes);
    return reply;
  }

  std::unique_ptr<KvReceiverStream> OpenStream() override {
    return std::make_unique<Stream>(shared_);
  }

  Stats stats() const override {
    return {.bytes = shared_.counters.bytes,
            .frames = shared_.counters.frames,
            .frames_refused = shared_.counters.frames_refused};
  }

 private:
  Shared shared_;
};

}  // namespace

std::unique_ptr<KvReceiver> KvReceiver::Create(KvSink& sink, const KvStore& store,
                                               const KvLayout& layout, Options options) {
  BATON_CHECK(store.geometry() == layout.geometry, "the layout describes the store");
  return std::make_unique<Receiver>(sink, store, layout, options);
}

}  // namespace baton::kvcache
