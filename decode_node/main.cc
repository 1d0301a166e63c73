// baton-decode: receives KV blocks and streams the remaining tokens.
#include "decode_node/decode_node.h"
#include "server/config.h"
#include "server/process.h"

int main(int argc, char** argv) {
  baton::server::BlockSignals();
  baton::v1::DecodeConfig config;
  int exit_code = 0;
  if (!baton::server::ParseCommandLine(
          argc, argv, "Baton decode node: receives KV blocks and streams the remaining tokens.",
          config, &exit_code)) {
    return exit_code;
  }
  baton::server::StartLogging(config.process(), "decode");
  return baton::decode_node::RunDecodeNode(config);
}
