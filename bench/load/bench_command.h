// `baton bench serve`: a load generator for any OpenAI-compatible server.
#pragma once

namespace CLI {
class App;
}

namespace baton::bench {

// Adds `bench` with its subcommand `serve` to `app`; its callback stores the exit code.
void AddBenchCommand(CLI::App& app, int* exit_code);

}  // namespace baton::bench
