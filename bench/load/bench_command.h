// `baton bench`: `serve` loads any OpenAI-compatible server, `model` times one model without a
// server.
#pragma once

namespace CLI {
class App;
}

namespace baton::bench {

// Adds `bench` with its subcommands to `app`; their callbacks store the exit code.
void AddBenchCommand(CLI::App& app, int* exit_code);

}  // namespace baton::bench
