// `baton bench machine`: the roofs of this machine, by which every other figure is judged.
#pragma once

namespace CLI {
class App;
}

namespace baton::bench {

// Adds `machine` to the subcommand `bench`.
void AddMachineCommand(CLI::App& bench);

}  // namespace baton::bench
