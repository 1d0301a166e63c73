// baton-any: a prefill node or a decode node, as the router asks.
#include "any_node/any_node.h"
#include "server/config.h"
#include "server/process.h"

int main(int argc, char** argv) {
  baton::server::BlockSignals();
  baton::v1::AnyConfig config;
  int exit_code = 0;
  if (!baton::server::ParseCommandLine(
          argc, argv, "Baton node of role any: prefills or decodes, as the router asks.", config,
          &exit_code)) {
    return exit_code;
  }
  baton::server::StartLogging(config.process(), "any");
  return baton::any_node::RunAnyNode(config);
}
