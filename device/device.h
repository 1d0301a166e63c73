// One chip: memory, weights in its own form, and the ops of ops.h.
//
// Public functions check their arguments once and then call the chip's DoX; a chip cannot forget or
// repeat a check. Ops are synchronous: when a call returns, its results are in memory. One thread
// at a time may call a Device; inside, a chip uses its own thread team. Memory of the CPU-hosted
// chips is host memory, so Buffer::data() may be read directly where a comment says so (logits, KV
// blocks).
//
// Same bits everywhere (docs/numerics.md): for p_chip and d_chip the value of each output element
// depends only on the op's own inputs for that row, never on the batch around it, the number of
// threads, the ISA level or which of the two chips computes it. The cpu reference is the judge of
// accuracy, not of bits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "device/buffer.h"
#include "device/ops.h"
#include "device/weight.h"

namespace baton::device {

class Device {
 public:
  virtual ~Device() = default;
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // "cpu", "p_chip" or "d_chip".
  virtual absl::string_view name() const = 0;
  // One line for banners and logs: what was chosen and why ("d_chip: avx512vnni, 2 threads").
  virtual std::string description() const = 0;

  // ResourceExhausted when the memory is not to be had.
  absl::StatusOr<Buffer> Allocate(size_t bytes);
  // Between host memory and the device's, in either direction.
  absl::Status Copy(void* to, const void* from, size_t bytes);
  // Packs a stored weight. The stored bytes are not needed afterwards.
  // InvalidArgument: a dtype or shape that the chip cannot compute with (cols not a multiple of the
  // block, no rows, ...).
  absl::StatusOr<std::unique_ptr<Weight>> Prepare(const StoredTensor& stored);

  // Each: InvalidArgument naming op, argument, needed and had; Internal, with the op's name, where
  // the chip failed.
  absl::Status Embed(const EmbedArgs& args);
  absl::Status RmsNorm(const RmsNormArgs& args);
  absl::Status Linear(const LinearArgs& args);
  absl::Status GatedLinear(const GatedLinearArgs& args);
  absl::Status Rope(const RopeArgs& args);
  absl::Status AppendKv(const AppendKvArgs& args);
  absl::Status Attention(const AttentionArgs& args);
  absl::Status GatherRows(const GatherRowsArgs& args);
  absl::Status HeadLinear(const HeadLinearArgs& args);
  absl::Status CopyHeads(const CopyHeadsArgs& args);
  absl::Status Experts(const ExpertsArgs& args);

 protected:
  virtual absl::StatusOr<Buffer> DoAllocate(size_t bytes) = 0;
  virtual absl::StatusOr<std::unique_ptr<Weight>> DoPrepare(const StoredTensor& stored) = 0;
  virtual absl::Status DoCopy(void* to, const void* from, size_t bytes);
  // What went wrong in the last DoX. Chips whose ops cannot fail keep the default.
  virtual absl::Status Outcome() { return absl::OkStatus(); }
  virtual void DoEmbed(const EmbedArgs& args) = 0;
  virtual void DoRmsNorm(const RmsNormArgs& args) = 0;
  virtual void DoLinear(const LinearArgs& args) = 0;
  virtual void DoGatedLinear(const GatedLinearArgs& args) = 0;
  virtual void DoRope(const RopeArgs& args) = 0;
  virtual void DoAppendKv(const AppendKvArgs& args) = 0;
  virtual void DoAttention(const AttentionArgs& args) = 0;
  virtual void DoGatherRows(const GatherRowsArgs& args) = 0;
  virtual void DoHeadLinear(const HeadLinearArgs& args) = 0;
  virtual void DoCopyHeads(const CopyHeadsArgs& args) = 0;
  virtual void DoExperts(const ExpertsArgs& args) = 0;
};

}  // namespace baton::device
