#include "device/device.h"

#include "base/status_macros.h"
#include "device/op_checks.h"

namespace baton::device {

absl::StatusOr<Buffer> Device::Allocate(size_t bytes) { return DoAllocate(bytes); }

absl::StatusOr<std::unique_ptr<Weight>> Device::Prepare(const StoredTensor& stored) {
  BATON_RETURN_IF_ERROR(Validate(stored));
  return DoPrepare(stored);
}

absl::Status Device::Embed(const EmbedArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoEmbed(args);
  return absl::OkStatus();
}

absl::Status Device::RmsNorm(const RmsNormArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoRmsNorm(args);
  return absl::OkStatus();
}

absl::Status Device::Linear(const LinearArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoLinear(args);
  return absl::OkStatus();
}

absl::Status Device::GatedLinear(const GatedLinearArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoGatedLinear(args);
  return absl::OkStatus();
}

absl::Status Device::Rope(const RopeArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoRope(args);
  return absl::OkStatus();
}

absl::Status Device::AppendKv(const AppendKvArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoAppendKv(args);
  return absl::OkStatus();
}

absl::Status Device::Attention(const AttentionArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoAttention(args);
  return absl::OkStatus();
}

absl::Status Device::GatherRows(const GatherRowsArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoGatherRows(args);
  return absl::OkStatus();
}

absl::Status Device::HeadLinear(const HeadLinearArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoHeadLinear(args);
  return absl::OkStatus();
}

absl::Status Device::CopyHeads(const CopyHeadsArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoCopyHeads(args);
  return absl::OkStatus();
}

absl::Status Device::Experts(const ExpertsArgs& args) {
  BATON_RETURN_IF_ERROR(Validate(args));
  DoExperts(args);
  return absl::OkStatus();
}

}  // namespace baton::device
