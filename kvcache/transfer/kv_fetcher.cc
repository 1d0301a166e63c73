#include "kvcache/transfer/kv_fetcher.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "kvcache/transfer/block_bytes.h"
#include "kvcache/transfer/frame_checksum.h"
#include "kvcache/transfer/kv_frame.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "kvcache/transfer/transfer_channel.h"
#include "proto/grpc_status.h"
#include "proto/kv_transfer.grpc.pb.h"

namespace baton::kvcache {
namespace {

// Weight of the latest transfer in a peer's rate.
constexpr double kAverageWeight = 0.3;
// A peer that was slow or gone is tried again after this time.
constexpr absl::Duration kRateLife = absl::Seconds(10);
// Tokens: every block size is a multiple.
constexpr int64_t kUnit = 16;

}  // namespace

// One Fetch call. Deletes itself when gRPC reports its end.
class KvFetcher::Call final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Call(KvFetcher& fetcher, Want want, std::vector<BlockKey> keys, std::vector<BlockRef> blocks,
       std::function<void(FetchResult)> on_done)
      : fetcher_(fetcher),
        want_(std::move(want)),
        keys_(std::move(keys)),
        blocks_(std::move(blocks)),
        on_done_(std::move(on_done)),
        begin_(fetcher.parts_.clock.Now()),
        stub_(fetcher.ChannelTo(want_.address)) {
    for (const BlockRef& block : blocks_) ids_.push_back(block.id());
    const device::KvGeometry& geometry = fetcher.parts_.layout.geometry;
    wanted_ = {int64_t{want_.begin} * geometry.block_tokens,
               int64_t{want_.end} * geometry.block_tokens};
    present_.assign(geometry.layers, std::vector<bool>((wanted_.end - wanted_.begin) / kUnit));
  }

  void Start() {
    static const std::string& method =
        *new std::string(absl::StrCat("/", v1::KvSource::service_full_name(), "/Fetch"));
    v1::FetchRequest request;
    *request.mutable_layout() = ToProto(fetcher_.parts_.layout);
    request.set_incarnation(want_.incarnation);
    request.mutable_tokens()->Assign(want_.tokens.begin(), want_.tokens.end());
    request.set_cache_salt(want_.cache_salt);
    request.set_block_begin(want_.begin);
    const grpc::Slice slice(request.SerializeAsString());
    request_ = grpc::ByteBuffer(&slice, 1);
    context_.set_deadline(DeadlineAfter(want_.timeout));
    stub_.PrepareBidiStreamingCall(&context_, method, grpc::StubOptions(), this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&incoming_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    const absl::Status status = TakeFrame();
    if (status.ok()) {
      StartRead(&incoming_);
      return;
    }
    failure_ = status;
    context_.TryCancel();
  }

  void OnDone(const grpc::Status& status) override {
    FetchResult result;
    result.status = failure_.ok() ? proto::FromGrpc(status) : failure_;
    result.bytes = bytes_;
    File(&result);
    result.took = fetcher_.parts_.clock.Now() - begin_;
    const std::function<void(FetchResult)> on_done = std::move(on_done_);
    KvFetcher& fetcher = fetcher_;
    const std::string address = want_.address;
    delete this;
    fetcher.Measure(address, result);
    on_done(std::move(result));
    fetcher.Ended();
  }

 private:
  absl::Status TakeFrame() {
    std::vector<grpc::Slice> slices;
    BATON_ASSIGN_OR_RETURN(const IncomingFrame frame, DecodeFrame(incoming_, slices));
    const v1::KvManifest& m = frame.manifest;
    const KvLayout& layout = fetcher_.parts_.layout;
    if (frame.has_commit || m.decode_incarnation() != want_.incarnation ||
        m.model_fingerprint() != layout.model_fingerprint || m.layout_version() != layout.version) {
      return absl::FailedPreconditionError("kv fetch: a frame of another node, model or layout");
    }
    if (ManifestXxh3(m) != m.manifest_xxh3()) {
      return absl::DataLossError("kv fetch: the manifest does not match its checksum");
    }
    device::KvGeometry theirs = layout.geometry;
    if (m.block_tokens() != 0) theirs.block_tokens = m.block_tokens();
    BATON_RETURN_IF_ERROR(CheckRange(frame, theirs));
    if (PayloadXxh3(frame.payload) != m.payload_xxh3()) {
      return absl::DataLossError(absl::StrFormat(
          "kv fetch: layer %d, %d blocks from block %d: the payload does not match its checksum",
          m.layer(), m.block_count(), m.block_begin()));
    }
    // Larger blocks than ours may reach beyond what is wanted.
    const int64_t begin = int64_t{m.block_begin()} * theirs.block_tokens;
    const int64_t end = begin + int64_t{m.block_count()} * theirs.block_tokens;
    const TokenRange range{std::max(begin, wanted_.begin), std::min(end, wanted_.end)};
    const int32_t ours = layout.geometry.block_tokens;
    const auto blocks = absl::MakeConstSpan(ids_).subspan(range.begin / ours - want_.begin);
    if (theirs.block_tokens == ours) {
      CopyIntoBlocks(fetcher_.parts_.store, m.layer(), blocks.first(m.block_count()),
                     frame.payload);
    } else {
      ConvertIntoBlocks(fetcher_.parts_.store, m.layer(), blocks, range,
                        {.block_tokens = theirs.block_tokens,
                         .block_begin = m.block_begin(),
                         .block_count = m.block_count(),
                         .payload = frame.payload});
    }
    for (int64_t token = range.begin; token < range.end; token += kUnit) {
      present_[m.layer()][(token - wanted_.begin) / kUnit] = true;
    }
    bytes_ += frame.payload_bytes;
    return absl::OkStatus();
  }

  // Whether a frame's blocks hold something that is wanted, and nothing before or behind the blocks
  // that do. `theirs` is the shape of its blocks.
  absl::Status CheckRange(const IncomingFrame& frame, const device::KvGeometry& theirs) const {
    const v1::KvManifest& m = frame.manifest;
    if (theirs.block_tokens != 16 && theirs.block_tokens != 32 && theirs.block_tokens != 64) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "kv fetch: block_tokens %d, allowed are 16, 32 and 64", theirs.block_tokens));
    }
    const int64_t first = wanted_.begin / theirs.block_tokens;
    const int64_t last = (wanted_.end + theirs.block_tokens - 1) / theirs.block_tokens;
    if (m.layer() >= 0 && m.layer() < theirs.layers && m.block_begin() >= first &&
        m.block_count() >= 1 && int64_t{m.block_begin()} + m.block_count() <= last &&
        frame.payload_bytes == m.block_count() * theirs.BlockLayerBytes()) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrFormat(
        "kv fetch: %d bytes for layer %d, %d blocks of %d tokens from block %d; wanted are tokens "
        "%d to %d",
        frame.payload_bytes, m.layer(), m.block_count(), theirs.block_tokens, m.block_begin(),
        wanted_.begin, wanted_.end));
  }

  // Files what is complete, from the first block on; the rest goes back to the pool.
  void File(FetchResult* result) {
    int64_t units = (wanted_.end - wanted_.begin) / kUnit;
    for (const std::vector<bool>& layer : present_) {
      units =
          std::min<int64_t>(units, std::find(layer.begin(), layer.end(), false) - layer.begin());
    }
    const auto complete =
        static_cast<size_t>(units * kUnit / fetcher_.parts_.layout.geometry.block_tokens);
    while (blocks_.size() > complete) blocks_.pop_back();
    fetcher_.parts_.pool.Promote(blocks_);
    for (size_t i = 0; i < complete; ++i) {
      fetcher_.parts_.cache.Insert(keys_[want_.begin + i], blocks_[i]);
    }
    result->blocks = static_cast<int32_t>(complete);
    GiveBack(std::move(blocks_));
  }

  KvFetcher& fetcher_;
  const Want want_;
  const std::vector<BlockKey> keys_;
  std::vector<BlockRef> blocks_;
  std::vector<int32_t> ids_;
  TokenRange wanted_;
  std::vector<std::vector<bool>> present_;  // of each layer, the wanted tokens, kUnit at a time
  std::function<void(FetchResult)> on_done_;
  const absl::Time begin_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer incoming_;
  absl::Status failure_;
  int64_t bytes_ = 0;
};

KvFetcher::KvFetcher(Parts parts) : parts_(std::move(parts)) {}

KvFetcher::~KvFetcher() {
  MutexLock lock(mutex_);
  idle_.wait(mutex_, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return under_way_ == 0; });
}

void KvFetcher::Fetch(Want want, std::function<void(FetchResult)> on_done) {
  std::vector<BlockKey> keys;
  parts_.cache.ExtendKeys(want.tokens, want.cache_salt, &keys);
  const int32_t count = std::min(want.end, static_cast<int32_t>(keys.size())) - want.begin;
  absl::StatusOr<std::vector<BlockRef>> blocks =
      parts_.pool.Allocate(count, BlockPool::Use::kLeased);
  if (!blocks.ok()) {
    on_done({.status = blocks.status()});
    return;
  }
  want.end = want.begin + count;
  // The peer must not send more than there is room for.
  want.tokens.resize(static_cast<size_t>(want.end) * parts_.layout.geometry.block_tokens);
  {
    MutexLock lock(mutex_);
    ++under_way_;
  }
  (new Call(*this, std::move(want), std::move(keys), *std::move(blocks), std::move(on_done)))
      ->Start();
}

double KvFetcher::BytesPerSecond(const std::string& address) const {
  MutexLock lock(mutex_);
  const auto found = rates_.find(address);
  if (found == rates_.end() || parts_.clock.Now() - found->second.measured > kRateLife) return 0;
  return found->second.bytes_per_s;
}

int64_t KvFetcher::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

std::shared_ptr<grpc::Channel> KvFetcher::ChannelTo(const std::string& address) {
  MutexLock lock(mutex_);
  std::shared_ptr<grpc::Channel>& channel = channels_[address];
  if (channel == nullptr) {
    channel = grpc::CreateCustomChannel(address, parts_.credentials, TransferChannelArguments());
  }
  return channel;
}

void KvFetcher::Measure(const std::string& address, const FetchResult& result) {
  MutexLock lock(mutex_);
  bytes_ += result.bytes;
  if (result.status.ok() && result.bytes == 0) return;
  const double seconds = std::max(absl::ToDoubleSeconds(result.took), 1e-6);
  const double latest = std::max(static_cast<double>(result.bytes) / seconds, 1.0);
  Rate& rate = rates_[address];
  rate.bytes_per_s += (rate.bytes_per_s == 0 ? 1 : kAverageWeight) * (latest - rate.bytes_per_s);
  rate.measured = parts_.clock.Now();
}

void KvFetcher::Ended() {
  MutexLock lock(mutex_);
  --under_way_;
  idle_.notify_all();
}

}  // namespace baton::kvcache
