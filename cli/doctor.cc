// `baton doctor`: what is wrong, in words that a person can act on.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cli/commands.h"
#include "cli/device_doctor.h"
#include "cli/doctor/cluster_checks.h"
#include "cli/doctor/config_checks.h"
#include "cli/doctor/machine_checks.h"
#include "cli/doctor/model_checks.h"

namespace baton::cli {
namespace {

struct DoctorOptions {
  device::DeviceOptions device;
  int timeout_s = 60;
  bool quick = false;
  std::string model, config, role, certs, url;
  int nodes = 2;
  int port = 8000;
  int64_t kv_bytes = 0;
  bool json = false;
};

void PrintOutcome(const CaseOutcome& outcome) {
  const std::string name = outcome.op.what.empty()
                               ? outcome.op.op
                               : absl::StrFormat("%s (%s)", outcome.op.op, outcome.op.what);
  if (!outcome.failure.empty()) {
    std::printf("%-44s FAILED   %s\n", name.c_str(), outcome.failure.c_str());
  } else {
    const std::string rate =
        outcome.rate > 0 ? absl::StrFormat("%.1f", outcome.rate * 1e-9) : std::string("-");
    std::printf("%-44s %s   %9.2e %9.2e   %-4s %10s %8.2f\n", name.c_str(),
                outcome.passed() ? "passed" : "FAILED", outcome.report.error,
                outcome.op.error_limit, outcome.report.same_bits ? "yes" : "NO", rate.c_str(),
                outcome.bandwidth * 1e-9);
  }
  std::fflush(stdout);
}

int CheckDevice(const DoctorOptions& options) {
  const auto description = DescribeDevice(options.device, options.timeout_s);
  if (!description.ok()) {
    std::fprintf(stderr, "baton doctor: %s\n", std::string(description.status().message()).c_str());
    return 1;
  }
  std::printf(
      "%s\nmeasured here; error: rms of the difference to the reference over rms of the "
      "values; bits: a row alone, in a batch and again\n%-44s %s   %9s %9s   %-4s %10s %8s\n",
      description->c_str(), "op", "result", "error", "limit", "bits", "Gop/s", "GB/s");
  int failed = 0;
  const auto outcomes =
      RunSuite(options.device, options.timeout_s, !options.quick, [&](const CaseOutcome& one) {
        PrintOutcome(one);
        failed += one.passed() ? 0 : 1;
      });
  std::printf("%zu passed, %d failed\n", outcomes.size() - failed, failed);
  return failed == 0 ? 0 : 1;
}

// The machine always; the rest where it is named. Without a name: could `baton serve` start here?
int Examine(const DoctorOptions& o) {
  Findings findings;
  const MachineFacts machine = ReadMachine("");
  if (o.url.empty() || !o.model.empty() || !o.config.empty()) JudgeMachine(machine, &findings);
  if (!o.model.empty()) {
    CheckModel(
        o.model,
        {.nodes = o.nodes, .kv_bytes = o.kv_bytes, .memory_available = machine.memory_available},
        &findings);
  }
  const absl::Time now = absl::Now();
  if (!o.config.empty()) {
    CheckConfigFile(o.config, o.role, machine.memory_available, now, &findings);
  } else if (o.url.empty() && o.certs.empty() && o.port > 0) {
    CheckListen("port", absl::StrCat("127.0.0.1:", o.port), &findings);
  }
  if (!o.certs.empty()) CheckCertificates(o.certs, o.role, "", now, &findings);
  if (!o.url.empty()) CheckCluster(o.url, &findings);
  const char* no_color = std::getenv("NO_COLOR");
  const bool color = isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0');
  std::fputs((o.json ? FindingsJson(findings) : FindingsText(findings, color)).c_str(), stdout);
  return ErrorsIn(findings) == 0 ? 0 : 1;
}

void AddDeviceOptions(CLI::App& command, DoctorOptions& o) {
  constexpr char kGroup[] = "Check a device";
  command
      .add_option("--device", o.device.name,
                  "every op of cpu, p_chip, d_chip or plugin:LIBRARY.so against the reference")
      ->default_str("")
      ->group(kGroup);
  command.add_option("--threads", o.device.threads, "compute threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str()
      ->group(kGroup);
  command.add_option("--isa", o.device.isa, "force scalar, avx2, avxvnni, avx512vnni or amx")
      ->group(kGroup);
  command.add_option("--timeout-s", o.timeout_s, "most seconds that one op may take")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str()
      ->group(kGroup);
  command.add_flag("--quick", o.quick, "accuracy and bits only, no speed")->group(kGroup);
}

}  // namespace

void AddDoctorCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command = app.add_subcommand(
      "doctor",
      "Say what is wrong with a machine, a model, a configuration, a cluster or a device");
  command->add_option("--model", options->model,
                      "model that shall run here, as baton serve takes it");
  command->add_option("--nodes", options->nodes, "nodes that shall run here, for its memory")
      ->check(CLI::Range(1, 128))
      ->capture_default_str();
  command->add_option("--port", options->port, "port that baton serve shall have; 0: not looked at")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command->add_option("--kv-bytes", options->kv_bytes, "KV pool of each node; 0: the default")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  CLI::Option* role = command->add_option("--role", options->role, "whose configuration it is")
                          ->check(CLI::IsMember({"router", "prefill", "decode"}));
  command
      ->add_option("--config", options->config,
                   "configuration file, with its ports and certificates")
      ->needs(role);
  command->add_option("--certs", options->certs, "folder of certificates (baton certs)");
  command->add_option("--url", options->url, "router of a running cluster, as http://host:port");
  command->add_flag("--json", options->json, "findings as JSON");
  AddDeviceOptions(*command, *options);
  command->footer(
      "Exit code 0: no error was found (warnings may have been), 1: an error was found.");
  command->callback([command, options, exit_code] {
    const bool device = command->get_option("--device")->count() > 0;
    *exit_code = device ? CheckDevice(*options) : Examine(*options);
  });
}

}  // namespace baton::cli
