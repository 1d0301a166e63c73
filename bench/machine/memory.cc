#include "bench/machine/memory.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "device/host_memory.h"

namespace baton::bench {
namespace {

constexpr int kTries = 7;
constexpr int64_t kLine = 64;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

device::Buffer Allocate(int64_t bytes) {
  absl::StatusOr<device::Buffer> buffer = device::AllocateHost(static_cast<size_t>(bytes));
  BATON_CHECK(buffer.ok(), "the sizes measured here fit any machine");
  return *std::move(buffer);
}

#if defined(__x86_64__)
#define BATON_WIDEST_LOADS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BATON_WIDEST_LOADS
#endif

// Eight streams, so that neither latency nor one page's prefetcher is the limit.
BATON_WIDEST_LOADS uint64_t SumOf(const uint64_t* words, int64_t count) {
  constexpr int kStreams = 8;
  const int64_t part = count / kStreams;
  uint64_t sums[kStreams][8] = {};
  for (int64_t i = 0; i + 8 <= part; i += 8) {
    for (int s = 0; s < kStreams; ++s) {
      for (int lane = 0; lane < 8; ++lane) sums[s][lane] += words[s * part + i + lane];
    }
  }
  uint64_t sum = 0;
  for (const auto& stream : sums) {
    for (const uint64_t lane : stream) sum += lane;
  }
  return sum;
}

}  // namespace

double ReadBandwidth(device::ThreadTeam& team, int64_t bytes) {
  std::vector<device::Buffer> memory(team.size());
  team.Run([&](int member) {
    memory[member] = Allocate(bytes);
    auto* words = reinterpret_cast<uint64_t*>(memory[member].data());
    for (int64_t i = 0; i < bytes / 8; ++i) words[i] = static_cast<uint64_t>(i);
  });
  const int64_t rounds = std::max<int64_t>(1, (int64_t{64} << 20) / bytes);
  double best = 0;
  std::vector<uint64_t> sums(team.size() * 16);
  for (int t = 0; t < kTries; ++t) {
    const double begin = Now();
    team.Run([&](int member) {
      const auto* words = reinterpret_cast<const uint64_t*>(memory[member].data());
      for (int64_t r = 0; r < rounds; ++r) sums[member * 16] += SumOf(words, bytes / 8);
    });
    best = std::max(best, static_cast<double>(rounds * bytes * team.size()) / (Now() - begin));
  }
  // Used, so that it is computed.
  volatile uint64_t kept = sums[0];
  (void)kept;
  return best;
}

double LoadLatency(int64_t bytes) {
  const int64_t count = bytes / kLine;
  std::vector<uint32_t> order(count);
  for (int64_t i = 0; i < count; ++i) order[i] = static_cast<uint32_t>(i);
  SeededRng rng(1);
  for (int64_t i = count - 1; i > 0; --i) std::swap(order[i], order[rng.Next() % (i + 1)]);
  const device::Buffer memory = Allocate(bytes);
  auto** lines = reinterpret_cast<void**>(memory.data());
  constexpr int64_t kWords = kLine / sizeof(void*);
  for (int64_t i = 0; i < count; ++i) {
    lines[order[i] * kWords] = &lines[order[(i + 1) % count] * kWords];
  }
  double best = 1;
  constexpr int64_t kLoads = 1 << 20;
  for (int t = 0; t < kTries; ++t) {
    void** at = lines;
    const double begin = Now();
    for (int64_t i = 0; i < kLoads; ++i) at = static_cast<void**>(*at);
    asm volatile("" : : "r"(at));
    best = std::min(best, (Now() - begin) / kLoads);
  }
  return best;
}

double TeamRunSeconds(device::ThreadTeam& team) {
  constexpr int kRuns = 20000;
  double best = 1;
  for (int t = 0; t < kTries; ++t) {
    const double begin = Now();
    for (int i = 0; i < kRuns; ++i) team.Run([](int) {});
    best = std::min(best, (Now() - begin) / kRuns);
  }
  return best;
}

double BarrierSeconds(device::ThreadTeam& team) {
  constexpr int kBarriers = 20000;
  double best = 1;
  for (int t = 0; t < kTries; ++t) {
    const double begin = Now();
    team.Run([&](int) {
      for (int i = 0; i < kBarriers; ++i) team.Barrier();
    });
    best = std::min(best, (Now() - begin) / kBarriers);
  }
  return best;
}

}  // namespace baton::bench
