// baton-prefill: turns prompts into KV blocks and a first token.
#include "prefill_node/prefill_node.h"
#include "server/config.h"
#include "server/process.h"

int main(int argc, char** argv) {
  baton::server::BlockSignals();
  baton::v1::PrefillConfig config;
  int exit_code = 0;
  if (!baton::server::ParseCommandLine(
          argc, argv, "Baton prefill node: turns prompts into KV blocks and a first token.", config,
          &exit_code)) {
    return exit_code;
  }
  baton::server::StartLogging(config.process(), "prefill");
  return baton::prefill_node::RunPrefillNode(config);
}
