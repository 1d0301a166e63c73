// A device that has memory and computes nothing.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "absl/status/status.h"
#include "base/check.h"
#include "device/device.h"

namespace baton::fakes {

class MemoryDevice final : public device::Device {
 public:
  absl::string_view name() const override { return "memory"; }
  std::string description() const override { return "memory: computes nothing"; }

 protected:
  absl::StatusOr<device::Buffer> DoAllocate(size_t bytes) override {
    const size_t rounded = (bytes + 63) / 64 * 64;
    void* data = std::aligned_alloc(64, rounded);
    if (data == nullptr) return absl::ResourceExhaustedError("memory device: out of memory");
    std::memset(data, 0, rounded);
    return device::Buffer(data, bytes, [](void* memory, size_t) { std::free(memory); });
  }
  absl::StatusOr<std::unique_ptr<device::Weight>> DoPrepare(const device::StoredTensor&) override {
    return absl::UnimplementedError("memory device: has no weights");
  }
  void DoEmbed(const device::EmbedArgs&) override { Refuse(); }
  void DoRmsNorm(const device::RmsNormArgs&) override { Refuse(); }
  void DoLinear(const device::LinearArgs&) override { Refuse(); }
  void DoGatedLinear(const device::GatedLinearArgs&) override { Refuse(); }
  void DoRope(const device::RopeArgs&) override { Refuse(); }
  void DoAppendKv(const device::AppendKvArgs&) override { Refuse(); }
  void DoAttention(const device::AttentionArgs&) override { Refuse(); }
  void DoGatherRows(const device::GatherRowsArgs&) override { Refuse(); }
  void DoHeadLinear(const device::HeadLinearArgs&) override { Refuse(); }
  void DoCopyHeads(const device::CopyHeadsArgs&) override { Refuse(); }
  void DoExperts(const device::ExpertsArgs&) override { Refuse(); }

 private:
  static void Refuse() { BATON_CHECK(false, "this device has memory only"); }
};

}  // namespace baton::fakes
