// A paged KV cache for tests of models: as many blocks as asked for, handed out in an order of the
// test's choice.
#pragma once

#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "device/device.h"
#include "device/paged_kv.h"
#include "models/model_config.h"

namespace baton::fakes {

class ContiguousKv {
 public:
  // `sequences` sequences of up to `tokens` tokens each. The blocks of one sequence are spread over
  // the whole pool, so that a kernel that ignores the block table is noticed.
  static absl::StatusOr<ContiguousKv> Create(device::Device& device,
                                             const models::ModelConfig& config, int32_t sequences,
                                             int64_t tokens, int32_t block_tokens,
                                             device::DType dtype) {
    ContiguousKv kv;
    kv.blocks_per_sequence_ = static_cast<int32_t>((tokens + block_tokens - 1) / block_tokens);
    const device::KvGeometry geometry{.layers = config.layers,
                                      .kv_heads = config.kv_heads,
                                      .head_dim = config.head_dim,
                                      .block_tokens = block_tokens,
                                      .dtype = dtype,
                                      .latent_dim = config.kv_latent_dim};
    const int32_t blocks = kv.blocks_per_sequence_ * sequences;
    const int64_t layer_bytes = blocks * geometry.BlockLayerBytes();
    BATON_ASSIGN_OR_RETURN(kv.memory_, device.Allocate(layer_bytes * config.layers));
    for (int32_t i = 0; i < config.layers; ++i) {
      uint8_t* base = static_cast<uint8_t*>(kv.memory_.data()) + i * layer_bytes;
      kv.layers_.push_back({.geometry = geometry, .layer_base = base, .blocks = blocks});
    }
    kv.tables_.resize(sequences);
    for (int32_t block = blocks - 1; block >= 0; --block) {
      kv.tables_[block % sequences].push_back(block);
    }
    return kv;
  }

  absl::Span<const device::PagedKvView> layers() const { return layers_; }
  absl::Span<const int32_t> table(int32_t sequence) const { return tables_[sequence]; }

 private:
  int32_t blocks_per_sequence_ = 0;
  device::Buffer memory_;
  std::vector<device::PagedKvView> layers_;
  std::vector<std::vector<int32_t>> tables_;
};

}  // namespace baton::fakes
