// What a node must say of itself, and in what two nodes must agree.
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "router/cluster_view.h"

namespace baton::router {
namespace {

constexpr size_t kMaxNameBytes = 256;

absl::Status Missing(absl::string_view field) {
  return absl::InvalidArgumentError(absl::StrCat("hello: ", field, " is missing or out of range"));
}

template <typename Value>
absl::Status Differs(absl::string_view field, const Value& value, const Value& other,
                     const std::string& other_id) {
  return absl::FailedPreconditionError(
      absl::StrCat(field, " differs: this node has ", value, ", node ", other_id, " has ", other));
}

}  // namespace

absl::Status CheckHello(const v1::NodeHello& hello) {
  if (hello.node_id().empty() || hello.node_id().size() > kMaxNameBytes) return Missing("node_id");
  if (hello.role() != v1::NODE_ROLE_PREFILL && hello.role() != v1::NODE_ROLE_DECODE) {
    return absl::InvalidArgumentError("hello: role must be prefill or decode");
  }
  const size_t colon = hello.address().rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || hello.address().size() > kMaxNameBytes ||
      !absl::SimpleAtoi(hello.address().substr(colon + 1), &port) || port < 1 || port > 65535) {
    return Missing("address (host:port)");
  }
  if (!hello.has_layout()) return Missing("layout");
  const v1::KvLayout& layout = hello.layout();
  if (layout.layers() < 1) return Missing("layout.layers");
  if (layout.kv_heads() < 1) return Missing("layout.kv_heads");
  if (layout.head_dim() < 1) return Missing("layout.head_dim");
  if (layout.block_tokens() < 1) return Missing("layout.block_tokens");
  if (hello.context_length() < 2) return Missing("context_length");
  return absl::OkStatus();
}

absl::Status CheckCompatible(const v1::NodeHello& hello, const v1::NodeHello& other) {
  const v1::KvLayout& a = hello.layout();
  const v1::KvLayout& b = other.layout();
  const std::string& id = other.node_id();
  if (hello.version() != other.version()) {
    return Differs("version", hello.version(), other.version(), id);
  }
  if (a.version() != b.version()) return Differs("layout.version", a.version(), b.version(), id);
  if (a.layers() != b.layers()) return Differs("layout.layers", a.layers(), b.layers(), id);
  if (a.kv_heads() != b.kv_heads()) {
    return Differs("layout.kv_heads", a.kv_heads(), b.kv_heads(), id);
  }
  if (a.head_dim() != b.head_dim()) {
    return Differs("layout.head_dim", a.head_dim(), b.head_dim(), id);
  }
  if (a.latent_dim() != b.latent_dim()) {
    return Differs("layout.latent_dim", a.latent_dim(), b.latent_dim(), id);
  }
  if (a.dtype() != b.dtype()) return Differs("layout.dtype", a.dtype(), b.dtype(), id);
  if (a.model_fingerprint() != b.model_fingerprint()) {
    return Differs("layout.model_fingerprint", absl::StrFormat("%016x", a.model_fingerprint()),
                   absl::StrFormat("%016x", b.model_fingerprint()), id);
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const v1::NodeHello& hello, uint64_t model_fingerprint) {
  if (hello.layout().model_fingerprint() == model_fingerprint) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("layout.model_fingerprint differs: this node's model \"%s\" has %016x, the "
                      "router's model has "
                      "%016x: start both with the same file",
                      hello.model_name(), hello.layout().model_fingerprint(), model_fingerprint));
}

}  // namespace baton::router
