// `baton doctor`: what is wrong, in words that a person can act on.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/device_doctor.h"

namespace baton::cli {
namespace {

struct Options {
  device::DeviceOptions device;
  int timeout_s = 60;
  bool quick = false;
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

int CheckDevice(const Options& options) {
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

}  // namespace

void AddDoctorCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "doctor", "Check a device: every op against the reference, each in its own process");
  command->add_option("--device", options->device.name, "cpu, p_chip, d_chip or plugin:LIBRARY.so")
      ->required();
  command->add_option("--threads", options->device.threads, "compute threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--isa", options->device.isa, "force scalar, avx2, avxvnni or avx512vnni");
  command->add_option("--timeout-s", options->timeout_s, "most seconds that one op may take")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  command->add_flag("--quick", options->quick, "accuracy and bits only, no speed");
  command->callback([options, exit_code] { *exit_code = CheckDevice(*options); });
}

}  // namespace baton::cli
