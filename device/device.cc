#include "device/device.h"

#include <cstring>

#include "base/status_macros.h"
#include "device/op_checks.h"

namespace baton::device {

absl::StatusOr<Buffer> Device::Allocate(size_t bytes) { return DoAllocate(bytes); }

absl::Status Device::Copy(void* to, const void* from, size_t bytes) {
  return DoCopy(to, from, bytes);
}

absl::Status Device::DoCopy(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Weight>> Device::Prepare(const StoredTensor& stored) {
  BATON_RETURN_IF_ERROR(Validate(stored));
  return DoPrepare(stored);
}

absl::Status Device::Embed(const EmbedArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoEmbed(args);
  return Outcome();
}

absl::Status Device::RmsNorm(const RmsNormArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoRmsNorm(args);
  return Outcome();
}

absl::Status Device::Linear(const LinearArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoLinear(args);
  return Outcome();
}

absl::Status Device::GatedLinear(const GatedLinearArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoGatedLinear(args);
  return Outcome();
}

absl::Status Device::Rope(const RopeArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoRope(args);
  return Outcome();
}

absl::Status Device::AppendKv(const AppendKvArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoAppendKv(args);
  return Outcome();
}

absl::Status Device::Attention(const AttentionArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoAttention(args);
  return Outcome();
}

absl::Status Device::GatherRows(const GatherRowsArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoGatherRows(args);
  return Outcome();
}

absl::Status Device::HeadLinear(const HeadLinearArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoHeadLinear(args);
  return Outcome();
}

absl::Status Device::CopyHeads(const CopyHeadsArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoCopyHeads(args);
  return Outcome();
}

absl::Status Device::Experts(const ExpertsArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoExperts(args);
  return Outcome();
}

}  // namespace baton::device
