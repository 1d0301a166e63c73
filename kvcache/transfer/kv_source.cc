#include "kvcache/transfer/kv_source.h"

#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "kvcache/transfer/block_bytes.h"
#include "kvcache/transfer/frame_checksum.h"
#include "kvcache/transfer/kv_frame.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "proto/grpc_status.h"
#include "proto/kv_transfer.grpc.pb.h"

namespace baton::kvcache {
namespace {

constexpr int64_t kFramePayloadBytes = 1 << 20;
// All layers of so many blocks follow each other: what has arrived when a stream breaks is of use.
constexpr int32_t kGroupBlocks = 16;

// Shares in the blocks that a stream sends.
struct HeldBlocks {
  std::vector<BlockRef> blocks;
  ~HeldBlocks() { GiveBack(std::move(blocks)); }
};

absl::StatusOr<v1::FetchRequest> Parse(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  v1::FetchRequest request;
  if (buffer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    if (request.ParseFromString(bytes)) return request;
  }
  return absl::InvalidArgumentError("kv fetch: the request does not parse");
}

// One Fetch call: a frame at a time, so that HTTP/2 flow control holds it back where the peer is
// slower. Deletes itself when gRPC reports the end, which comes after Begin or Refuse.
class FetchReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit FetchReactor(const KvSourceParts& parts) : parts_(parts) {}

  // Sends `blocks`, those of a sequence from its start, from `block_begin` on.
  void Begin(std::vector<BlockRef> blocks, int32_t block_begin) {
    for (const BlockRef& block : blocks) ids_.push_back(block.id());
    held_->blocks = std::move(blocks);
    next_ = block_begin;
    const int64_t most = kFramePayloadBytes / parts_.layout.geometry.BlockLayerBytes();
    group_ = static_cast<int32_t>(std::clamp<int64_t>(most, 1, kGroupBlocks));
    WriteNext();
  }
  void Refuse(const absl::Status& status) { Finish(proto::ToGrpc(status)); }

  void OnWriteDone(bool ok) override {
    if (ok) {
      WriteNext();
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }
  void OnDone() override { delete this; }

 private:
  void WriteNext() {
    if (layer_ == parts_.layout.geometry.layers) {
      layer_ = 0;
      next_ += group_;
    }
    const int32_t end = std::min(next_ + group_, static_cast<int32_t>(ids_.size()));
    if (next_ >= end) {
      Finish(grpc::Status::OK);
      return;
    }
    OutgoingFrame frame;
    frame.payload =
        BlockPieces(parts_.store, layer_, absl::MakeConstSpan(ids_).subspan(next_, end - next_));
    v1::KvManifest& manifest = frame.manifest;
    manifest.set_decode_incarnation(parts_.incarnation);
    manifest.set_model_fingerprint(parts_.layout.model_fingerprint);
    manifest.set_layout_version(parts_.layout.version);
    manifest.set_layer(layer_);
    manifest.set_block_begin(next_);
    manifest.set_block_count(end - next_);
    manifest.set_block_tokens(parts_.layout.geometry.block_tokens);
    manifest.set_payload_xxh3(PayloadXxh3(frame.payload));
    manifest.set_manifest_xxh3(ManifestXxh3(manifest));
    if (parts_.bytes_sent != nullptr) {
      *parts_.bytes_sent += (end - next_) * parts_.layout.geometry.BlockLayerBytes();
    }
    ++layer_;
    outgoing_ = EncodeFrame(frame, held_);
    StartWrite(&outgoing_);
  }

  const KvSourceParts& parts_;
  const std::shared_ptr<HeldBlocks> held_ = std::make_shared<HeldBlocks>();
  std::vector<int32_t> ids_;  // of the blocks from the sequence's start
  int32_t group_ = 1;
  int32_t next_ = 0;
  int32_t layer_ = 0;
  grpc::ByteBuffer outgoing_;
};

class KvSourceService final
    : public v1::KvSource::WithRawCallbackMethod_Fetch<v1::KvSource::Service> {
 public:
  explicit KvSourceService(KvSourceParts parts) : parts_(std::move(parts)) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Fetch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* buffer) override {
    auto* reactor = new FetchReactor(parts_);
    absl::StatusOr<v1::FetchRequest> request = Check(*context, *buffer);
    if (!request.ok()) {
      reactor->Refuse(request.status());
      return reactor;
    }
    std::vector<BlockKey> keys;
    parts_.cache.ExtendKeys(request->tokens(), request->cache_salt(), &keys);
    // The asker counts in blocks of its own size; what comes before is not wanted.
    const int64_t begin = int64_t{request->block_begin()} * request->layout().block_tokens() /
                          parts_.layout.geometry.block_tokens;
    const auto first =
        static_cast<int32_t>(std::min<int64_t>(begin, static_cast<int64_t>(keys.size())));
    // The reactor lives at least until it began.
    parts_.tier_reader.BringBack(keys, [reactor, keys, first, &cache = parts_.cache] {
      reactor->Begin(cache.Lookup(keys), first);
    });
    return reactor;
  }

 private:
  absl::StatusOr<v1::FetchRequest> Check(const grpc::ServerContextBase& context,
                                         const grpc::ByteBuffer& buffer) {
    BATON_RETURN_IF_ERROR(parts_.check_peer(context));
    BATON_ASSIGN_OR_RETURN(v1::FetchRequest request, Parse(buffer));
    if (request.incarnation() != parts_.incarnation) {
      return absl::FailedPreconditionError(
          absl::StrFormat("kv fetch: meant for incarnation %016x of this node, which is %016x",
                          request.incarnation(), parts_.incarnation));
    }
    BATON_RETURN_IF_ERROR(CheckConvertible(parts_.layout, request.layout()));
    if (request.block_begin() < 0) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "kv fetch: block_begin is %d, needs to be at least 0", request.block_begin()));
    }
    return request;
  }

  const KvSourceParts parts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeKvSourceService(KvSourceParts parts) {
  return std::make_unique<KvSourceService>(std::move(parts));
}

}  // namespace baton::kvcache
