#include "kvcache/kv_layout.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::kvcache {
namespace {

template <typename T>
absl::Status CheckField(absl::string_view field, const T& ours, const T& theirs) {
  if (ours == theirs) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("kv layout differs in ", field, ": ours ", ours, ", theirs ", theirs));
}

bool IsBlockSize(int32_t tokens) { return tokens == 16 || tokens == 32 || tokens == 64; }

}  // namespace

absl::Status CheckSameLayout(const KvLayout& ours, const KvLayout& theirs) {
  const device::KvGeometry& a = ours.geometry;
  const device::KvGeometry& b = theirs.geometry;
  for (const absl::Status& status :
       {CheckField("version", ours.version, theirs.version),
        CheckField("layers", a.layers, b.layers), CheckField("kv_heads", a.kv_heads, b.kv_heads),
        CheckField("head_dim", a.head_dim, b.head_dim),
        CheckField("latent_dim", a.latent_dim, b.latent_dim),
        CheckField("block_tokens", a.block_tokens, b.block_tokens),
        CheckField("dtype", device::DTypeName(a.dtype), device::DTypeName(b.dtype)),
        CheckField("model_fingerprint", absl::StrFormat("%016x", ours.model_fingerprint),
                   absl::StrFormat("%016x", theirs.model_fingerprint))}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckConvertible(const KvLayout& ours, const KvLayout& theirs) {
  KvLayout alike = theirs;
  // Keys and values of a token lie apart from other tokens' in these types alone.
  const bool plain =
      ours.geometry.dtype == device::DType::kF16 || ours.geometry.dtype == device::DType::kF32;
  if (plain && IsBlockSize(theirs.geometry.block_tokens)) {
    alike.geometry.block_tokens = ours.geometry.block_tokens;
  }
  return CheckSameLayout(ours, alike);
}

}  // namespace baton::kvcache
