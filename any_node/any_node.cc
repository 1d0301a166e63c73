#include "any_node/any_node.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "decode_node/decode_node.h"
#include "prefill_node/prefill_node.h"
#include "server/process.h"

namespace baton::any_node {
namespace {

// One name in both roles, whatever port the node listens on: the router knows it again.
std::string StableName() {
  char host[256] = "";
  if (gethostname(host, sizeof(host) - 1) != 0) host[0] = 0;
  return absl::StrCat("any-", host, "-", getpid());
}

}  // namespace

v1::PrefillConfig PrefillConfigOf(const v1::AnyConfig& config) {
  v1::PrefillConfig prefill;
  *prefill.mutable_process() = config.process();
  *prefill.mutable_node() = config.node();
  prefill.set_device(config.prefill_device());
  prefill.set_step_tokens(config.step_tokens());
  prefill.set_transfer_timeout_ms(config.transfer_timeout_ms());
  return prefill;
}

v1::DecodeConfig DecodeConfigOf(const v1::AnyConfig& config) {
  v1::DecodeConfig decode;
  *decode.mutable_process() = config.process();
  *decode.mutable_node() = config.node();
  decode.set_device(config.decode_device());
  decode.set_max_batch(config.max_batch());
  decode.set_lease_timeout_ms(config.lease_timeout_ms());
  decode.set_window_bytes(config.window_bytes());
  decode.set_prefill_chunk_tokens(config.prefill_chunk_tokens());
  decode.set_speculation(config.speculation());
  decode.set_draft_tokens(config.draft_tokens());
  return decode;
}

int RunAnyNode(const v1::AnyConfig& config) {
  v1::AnyConfig named = config;
  if (named.node().node_id().empty()) named.mutable_node()->set_node_id(StableName());
  v1::NodeRole role =
      config.first_role() == "prefill" ? v1::NODE_ROLE_PREFILL : v1::NODE_ROLE_DECODE;
  while (true) {
    const bool prefill = role == v1::NODE_ROLE_PREFILL;
    const absl::StatusOr<v1::NodeRole> next =
        prefill ? prefill_node::RunPrefillNodeUntilMoved(PrefillConfigOf(named))
                : decode_node::RunDecodeNodeUntilMoved(DecodeConfigOf(named));
    if (!next.ok()) return server::ExitCodeFor(next.status(), "baton-any");
    if (*next == v1::NODE_ROLE_UNSPECIFIED) return 0;
    spdlog::info("moves from {} to {}, as the router asked", prefill ? "prefill" : "decode",
                 prefill ? "decode" : "prefill");
    role = *next;
  }
}

}  // namespace baton::any_node
