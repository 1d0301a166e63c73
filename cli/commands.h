// The subcommands of `baton`. Each function adds one to `app`; when it is chosen, its callback
// stores the exit code.
#pragma once

namespace CLI {
class App;
}

namespace baton::cli {

void AddServeCommand(CLI::App& app, int* exit_code);
void AddConfigCommand(CLI::App& app, int* exit_code);
void AddChatCommand(CLI::App& app, int* exit_code);
void AddChipsCommand(CLI::App& app, int* exit_code);
void AddTopCommand(CLI::App& app, int* exit_code);
void AddDoctorCommand(CLI::App& app, int* exit_code);
void AddHealthCommand(CLI::App& app, int* exit_code);
void AddCertsCommand(CLI::App& app, int* exit_code);
void AddScoreCommand(CLI::App& app, int* exit_code);
void AddPerplexityCommand(CLI::App& app, int* exit_code);
// These two describe all commands of `app`, which must outlive the callback.
void AddCompletionCommand(CLI::App& app);
void AddManCommand(CLI::App& app);

}  // namespace baton::cli
