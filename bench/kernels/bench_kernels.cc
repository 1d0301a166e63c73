// bench_kernels: how fast the ops of one device are on this machine.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "bench/kernels/op_timing.h"
#include "device/device_factory.h"

namespace baton::bench {
namespace {

using device::DType;

// More than any cache that one guest may hope for.
constexpr int64_t kColdBytes = int64_t{128} << 20;

void Print(const absl::StatusOr<OpTiming>& timing) {
  if (!timing.ok()) {
    std::printf("%s\n", timing.status().ToString().c_str());
    return;
  }
  std::printf("%-40s %10.1f us %9.1f GMAC/s %8.2f GB/s\n", timing->op.c_str(),
              timing->seconds * 1e6, timing->macs / timing->seconds * 1e-9,
              timing->read_bytes / timing->seconds * 1e-9);
  std::fflush(stdout);
}

void TimeDecode(device::Device& device) {
  for (const int64_t rows : {1, 2, 4, 8, 12, 16, 32, 64}) {
    Print(TimeLinear(device, DType::kQ4_1, rows, 576, 576, kColdBytes));
    Print(TimeLinear(device, DType::kQ4_1, rows, 1536, 576, kColdBytes));
    Print(TimeGatedLinear(device, DType::kQ4_1, rows, 576, 1536, kColdBytes));
  }
  Print(TimeLinear(device, DType::kQ8_0, 1, 576, 49152, kColdBytes));
  for (const int64_t context : {128, 1024, 4096}) {
    for (const DType dtype : {DType::kF16, DType::kBF16}) {
      Print(TimeAttention(device, {.context = context, .dtype = dtype}));
      Print(TimeAttention(device, {.sequences = 8, .context = context, .dtype = dtype}));
    }
  }
}

void TimePrefill(device::Device& device) {
  for (const DType dtype : {DType::kQ4_1, DType::kQ4_0, DType::kQ8_0, DType::kF16, DType::kF32}) {
    Print(TimeLinear(device, dtype, 512, 576, 576, 0));
    Print(TimeLinear(device, dtype, 512, 1536, 576, 0));
    Print(TimeGatedLinear(device, dtype, 512, 576, 1536, 0));
  }
  for (const int64_t context : {0, 1536, 7680}) {
    for (const DType dtype : {DType::kF16, DType::kBF16}) {
      Print(TimeAttention(device, {.rows = 512, .context = context, .dtype = dtype}));
    }
  }
}

int Main(int argc, char** argv) {
  CLI::App app("Times the ops of one device at the shapes of SmolLM2-135M");
  device::DeviceOptions options;
  std::string phase = "both";
  app.add_option("--device", options.name, "p_chip or d_chip")->capture_default_str();
  app.add_option("--threads", options.threads, "threads")->capture_default_str();
  app.add_option("--isa", options.isa, "scalar, avx2, avxvnni, avx512vnni or amx; empty: the best");
  app.add_option("--phase", phase, "prefill, decode or both")
      ->check(CLI::IsMember({"prefill", "decode", "both"}))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<std::unique_ptr<device::Device>> device = device::CreateDevice(options);
  if (!device.ok()) {
    std::fprintf(stderr, "%s\n", device.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", (*device)->description().c_str());
  if (phase != "decode") TimePrefill(**device);
  if (phase != "prefill") TimeDecode(**device);
  return 0;
}

}  // namespace
}  // namespace baton::bench

int main(int argc, char** argv) { return baton::bench::Main(argc, argv); }
