#include "kvcache/transfer/kv_layout_proto.h"

#include <string>

#include "absl/strings/str_format.h"
#include "device/dtype.h"

namespace baton::kvcache {
namespace {

using LayoutCheck = absl::Status (*)(const KvLayout& ours, const KvLayout& theirs);

// A dtype travels by its name, and may be one that this build does not know.
absl::Status Check(LayoutCheck check, const KvLayout& ours, const v1::KvLayout& theirs) {
  const std::string dtype(device::DTypeName(ours.geometry.dtype));
  if (theirs.version() == ours.version && theirs.dtype() != dtype) {
    return absl::FailedPreconditionError(
        absl::StrFormat("kv layout differs in dtype: ours %s, theirs %s", dtype, theirs.dtype()));
  }
  KvLayout layout;
  layout.version = theirs.version();
  layout.geometry = {.layers = theirs.layers(),
                     .kv_heads = theirs.kv_heads(),
                     .head_dim = theirs.head_dim(),
                     .block_tokens = theirs.block_tokens(),
                     .dtype = ours.geometry.dtype,
                     .latent_dim = theirs.latent_dim()};
  layout.model_fingerprint = theirs.model_fingerprint();
  return check(ours, layout);
}

}  // namespace

v1::KvLayout ToProto(const KvLayout& layout) {
  v1::KvLayout proto;
  proto.set_version(layout.version);
  proto.set_layers(layout.geometry.layers);
  proto.set_kv_heads(layout.geometry.kv_heads);
  proto.set_head_dim(layout.geometry.head_dim);
  proto.set_latent_dim(layout.geometry.latent_dim);
  proto.set_block_tokens(layout.geometry.block_tokens);
  proto.set_dtype(std::string(device::DTypeName(layout.geometry.dtype)));
  proto.set_model_fingerprint(layout.model_fingerprint);
  return proto;
}

absl::Status CheckSameLayout(const KvLayout& ours, const v1::KvLayout& theirs) {
  return Check(CheckSameLayout, ours, theirs);
}

absl::Status CheckConvertible(const KvLayout& ours, const v1::KvLayout& theirs) {
  return Check(CheckConvertible, ours, theirs);
}

}  // namespace baton::kvcache
