// `baton bench model`: tokens per second of one model on one device, without any server.
#pragma once

namespace CLI {
class App;
}

namespace baton::bench {

// Adds `model` to the subcommand `bench`; its callback stores the exit code.
void AddModelCommand(CLI::App& bench, int* exit_code);

}  // namespace baton::bench
