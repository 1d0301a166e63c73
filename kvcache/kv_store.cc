#include "kvcache/kv_store.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace baton::kvcache {
namespace {

absl::Status CheckShape(const device::KvGeometry& geometry, int32_t blocks) {
  const device::KvGeometry& g = geometry;
  if (g.layers < 1 || g.kv_heads < 1 || g.head_dim < 1 || blocks < 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "kv store: layers %d, kv_heads %d, head_dim %d, blocks %d: each must be at least 1",
        g.layers, g.kv_heads, g.head_dim, blocks));
  }
  if (g.latent_dim < 0 || g.latent_dim > g.head_dim) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "kv store: latent_dim %d: allowed are 0 to %d, the head_dim", g.latent_dim, g.head_dim));
  }
  if (g.block_tokens != 16 && g.block_tokens != 32 && g.block_tokens != 64) {
    return absl::InvalidArgumentError(
        absl::StrFormat("kv store: block_tokens %d: allowed are 16, 32 and 64", g.block_tokens));
  }
  if (g.dtype != device::DType::kF16 && g.dtype != device::DType::kBF16 &&
      g.dtype != device::DType::kF32) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "kv store: dtype %s: allowed are f16, bf16 and f32", device::DTypeName(g.dtype)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<KvStore>> KvStore::Create(device::Device& device,
                                                         const device::KvGeometry& geometry,
                                                         int32_t blocks) {
  BATON_RETURN_IF_ERROR(CheckShape(geometry, blocks));
  // Each factor is below 2^31, but their product need not fit.
  int64_t bytes = (geometry.latent_dim > 0 ? 1 : 2) * device::BlockBytes(geometry.dtype);
  for (int64_t factor :
       {geometry.layers, geometry.kv_heads, geometry.head_dim, geometry.block_tokens, blocks}) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("kv store: %d blocks of %d tokens in %d layers exceed the address space",
                          blocks, geometry.block_tokens, geometry.layers));
    }
  }
  std::unique_ptr<KvStore> store(new KvStore());
  store->geometry_ = geometry;
  store->blocks_ = blocks;
  BATON_ASSIGN_OR_RETURN(store->memory_, device.Allocate(static_cast<size_t>(bytes)));
  uint8_t* base = static_cast<uint8_t*>(store->memory_.data());
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    store->layers_.push_back({.geometry = geometry,
                              .layer_base = base + layer * geometry.BlockLayerBytes(),
                              .blocks = blocks,
                              .block_stride_bytes = geometry.BlockBytesTotal()});
  }
  return store;
}

void KvStore::ZeroTail(int32_t layer, int32_t block, int32_t from_token) const {
  const device::KvGeometry& g = geometry_;
  BATON_CHECK(layer >= 0 && layer < g.layers && block >= 0 && block < blocks_, "outside the store");
  BATON_CHECK(from_token >= 0 && from_token <= g.block_tokens, "outside the block");
  const int64_t element = device::BlockBytes(g.dtype);
  const int64_t tail_tokens = g.block_tokens - from_token;
  // Keys are [kv_heads][head_dim][block_tokens]: the tail is one piece of every row.
  uint8_t* keys = layers_[layer].keys(block);
  for (int64_t row = 0; row < int64_t{g.kv_heads} * g.head_dim; ++row) {
    std::memset(keys + (row * g.block_tokens + from_token) * element, 0, tail_tokens * element);
  }
  if (g.latent_dim > 0) return;
  // Values are [kv_heads][block_tokens][head_dim]: the tail is one piece of every head.
  uint8_t* values = layers_[layer].values(block);
  for (int64_t head = 0; head < g.kv_heads; ++head) {
    std::memset(values + (head * g.block_tokens + from_token) * g.head_dim * element, 0,
                tail_tokens * g.head_dim * element);
  }
}

}  // namespace baton::kvcache
