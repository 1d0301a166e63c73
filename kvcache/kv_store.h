// The device memory behind a BlockPool.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "device/buffer.h"
#include "device/device.h"
#include "device/paged_kv.h"

namespace baton::kvcache {

// Owns the bytes; who may touch which block is the BlockPool's business. Thread-compatible:
// distinct blocks may be written by distinct threads.
class KvStore {
 public:
  // Allocates `blocks` blocks of `geometry` on `device` (which must outlive the store).
  static absl::StatusOr<std::unique_ptr<KvStore>> Create(device::Device& device,
                                                         const device::KvGeometry& geometry,
                                                         int32_t blocks);

  const device::KvGeometry& geometry() const { return geometry_; }
  int32_t blocks() const { return blocks_; }
  // One view per layer, for ForwardBatch::kv.
  absl::Span<const device::PagedKvView> layers() const { return layers_; }
  // Keys and values of one block in one layer: geometry().BlockLayerBytes() bytes.
  uint8_t* BlockLayer(int32_t layer, int32_t block) const { return layers_[layer].keys(block); }
  // All layers of one block: geometry().BlockBytesTotal() bytes.
  absl::Span<uint8_t> Block(int32_t block) const {
    return {BlockLayer(0, block), static_cast<size_t>(geometry_.BlockBytesTotal())};
  }
  // Zeroes the slots of tokens [from, block_tokens) of a block in one layer, so that a partly
  // filled block that leaves the node carries nothing of an earlier sequence.
  void ZeroTail(int32_t layer, int32_t block, int32_t from_token) const;

 private:
  KvStore() = default;
  device::KvGeometry geometry_;
  int32_t blocks_ = 0;
  device::Buffer memory_;
  std::vector<device::PagedKvView> layers_;
};

}  // namespace baton::kvcache
