#include "bench/machine/machine_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/machine/memory.h"
#include "bench/machine/peaks.h"
#include "device/device_factory.h"

namespace baton::bench {
namespace {

using json = nlohmann::ordered_json;

struct Options {
  std::vector<int> threads = {1, 2};
  bool as_json = false;
};

std::string CpuModel() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

// Ops per second of the whole team: the best of several rounds.
double OpsPerSecond(const Peak& peak, device::ThreadTeam& team) {
  constexpr int64_t kRounds = 500'000;
  double best = 0;
  std::vector<uint32_t> kept(team.size() * 32);
  for (int t = 0; t < 60; ++t) {
    const auto begin = std::chrono::steady_clock::now();
    team.Run([&](int member) { kept[member * 32] += peak.loop(kRounds); });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::max(best,
                    static_cast<double>(kRounds * peak.ops_a_round * team.size()) / took.count());
  }
  return best;
}

struct Size {
  const char* name;
  int64_t bytes;
};
constexpr Size kSizes[] = {{"32KiB", int64_t{32} << 10},
                           {"512KiB", int64_t{512} << 10},
                           {"8MiB", int64_t{8} << 20},
                           {"64MiB", int64_t{64} << 20},
                           {"512MiB", int64_t{512} << 20}};

json Measure(int threads) {
  device::ThreadTeam team(threads);
  json result = {{"threads", threads}};
  for (const Peak& peak : AvailablePeaks()) {
    result["giga_ops_per_s"][peak.level] = OpsPerSecond(peak, team) * 1e-9;
  }
  for (const Size& size : kSizes) {
    result["read_gb_per_s"][size.name] = ReadBandwidth(team, size.bytes) * 1e-9;
  }
  if (threads == 1) {
    for (const Size& size : kSizes) {
      result["load_latency_ns"][size.name] = LoadLatency(size.bytes) * 1e9;
    }
  } else {
    result["team_run_us"] = TeamRunSeconds(team) * 1e6;
    result["barrier_us"] = BarrierSeconds(team) * 1e6;
  }
  return result;
}

void Print(const json& result) {
  std::printf("%d thread(s)\n", result["threads"].get<int>());
  for (const Peak& peak : AvailablePeaks()) {
    std::printf("  %-28s %9.1f Gop/s\n", peak.name,
                result["giga_ops_per_s"][peak.level].get<double>());
  }
  for (const Size& size : kSizes) {
    std::printf("  read %-8s a thread        %9.1f GB/s", size.name,
                result["read_gb_per_s"][size.name].get<double>());
    if (result.contains("load_latency_ns")) {
      std::printf("   latency %6.1f ns", result["load_latency_ns"][size.name].get<double>());
    }
    std::printf("\n");
  }
  if (result.contains("barrier_us")) {
    std::printf("  run of the team %.2f us, barrier %.2f us\n", result["team_run_us"].get<double>(),
                result["barrier_us"].get<double>());
  }
}

void Run(const Options& options) {
  json all = {{"cpu", CpuModel()}, {"isa_levels", device::AvailableIsaLevels()}};
  if (!options.as_json) std::printf("%s\n", all["cpu"].get<std::string>().c_str());
  for (const int threads : options.threads) {
    json result = Measure(threads);
    if (!options.as_json) Print(result);
    all["results"].push_back(std::move(result));
  }
  if (options.as_json) std::printf("%s\n", all.dump(1).c_str());
}

}  // namespace

void AddMachineCommand(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "machine", "Measure this machine's roofs: arithmetic, memory, threads (best of several)");
  command->add_option("--threads", options->threads, "numbers of threads to measure with")
      ->check(CLI::Range(1, 256))
      ->delimiter(',')
      ->capture_default_str();
  command->add_flag("--json", options->as_json, "print JSON");
  command->callback([options] { Run(*options); });
}

}  // namespace baton::bench
