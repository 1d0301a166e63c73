#include "cli/doctor/machine_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/fakes/temp_folder.h"

namespace baton::cli {
namespace {

using testing::HasSubstr;

MachineFacts GoodMachine() {
  MachineFacts facts;
  facts.isa_levels = {"avx512vnni", "avx2", "scalar"};
  facts.cpus = 4;
  facts.memory_total = int64_t{16} << 30;
  facts.memory_available = int64_t{8} << 30;
  facts.huge_pages = "madvise";
  facts.open_files = 65536;
  return facts;
}

// What is not good, as one text.
std::string Complaints(const MachineFacts& facts) {
  Findings findings, bad;
  JudgeMachine(facts, &findings);
  for (const Finding& finding : findings) {
    if (finding.verdict == Verdict::kGood) continue;
    EXPECT_FALSE(finding.cure.empty()) << finding.what;
    bad.push_back(finding);
  }
  return bad.empty() ? "" : FindingsText(bad, false);
}

TEST(MachineChecks, AGoodMachineHasNothingToComplainOf) {
  EXPECT_EQ(Complaints(GoodMachine()), "");
}

TEST(MachineChecks, EachShortcomingIsSaidWithACure) {
  MachineFacts facts = GoodMachine();
  facts.isa_levels = {"scalar"};
  EXPECT_THAT(Complaints(facts), HasSubstr("without AVX2"));
  facts = GoodMachine();
  facts.cpu_quota = 1.5;
  EXPECT_THAT(Complaints(facts), HasSubstr("the container allows only 1.5"));
  facts = GoodMachine();
  facts.load = 12;
  EXPECT_THAT(Complaints(facts), HasSubstr("12.0 processes want one"));
  facts = GoodMachine();
  facts.memory_available = 100 << 20;
  EXPECT_THAT(Complaints(facts), HasSubstr("100 MiB of 16.0 GiB"));
  facts = GoodMachine();
  facts.memory_limit = int64_t{2} << 30;
  EXPECT_THAT(Complaints(facts), HasSubstr("the container may take 2.0 GiB"));
  facts = GoodMachine();
  facts.huge_pages = "never";
  EXPECT_THAT(Complaints(facts), HasSubstr("echo madvise >"));
  facts = GoodMachine();
  facts.open_files = 256;
  EXPECT_THAT(Complaints(facts), HasSubstr("256 open files"));
  facts = GoodMachine();
  facts.clock_synchronised = false;
  EXPECT_THAT(Complaints(facts), HasSubstr("chrony"));
}

TEST(MachineChecks, ReadsWhatTheKernelSays) {
  const fakes::TempFolder root;
  std::filesystem::create_directories(root.path() + "/proc");
  std::filesystem::create_directories(root.path() + "/sys/fs/cgroup");
  std::filesystem::create_directories(root.path() + "/sys/kernel/mm/transparent_hugepage");
  root.Write("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 5 kB\nMemAvailable:    400 kB\n");
  root.Write("proc/loadavg", "3.25 1 1 2/300 1\n");
  root.Write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  root.Write("sys/fs/cgroup/memory.max", "4096\n");
  root.Write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  const MachineFacts facts = ReadMachine(root.path());
  EXPECT_EQ(facts.memory_total, 1000 * 1024);
  EXPECT_EQ(facts.memory_available, 400 * 1024);
  EXPECT_EQ(facts.load, 3.25);
  EXPECT_EQ(facts.cpu_quota, 1.5);
  EXPECT_EQ(facts.memory_limit, 4096);
  EXPECT_EQ(facts.huge_pages, "never");
  EXPECT_EQ(facts.isa_levels.back(), "scalar");
  EXPECT_GT(facts.cpus, 0);
}

TEST(MachineChecks, NoLimitAndMissingFilesAreNoLimit) {
  const fakes::TempFolder root;
  std::filesystem::create_directories(root.path() + "/sys/fs/cgroup");
  root.Write("sys/fs/cgroup/cpu.max", "max 100000\n");
  root.Write("sys/fs/cgroup/memory.max", "max\n");
  const MachineFacts facts = ReadMachine(root.path());
  EXPECT_EQ(facts.cpu_quota, 0);
  EXPECT_EQ(facts.memory_limit, 0);
  EXPECT_EQ(facts.huge_pages, "");
}

TEST(Findings, AreJsonForProgramsAndTextForPeople) {
  const Findings findings = {{"machine", Verdict::kGood, "a", ""},
                             {"model", Verdict::kError, "b \"quoted\"", "do c"}};
  const auto json = nlohmann::json::parse(FindingsJson(findings));
  EXPECT_EQ(json["errors"], 1);
  EXPECT_EQ(json["findings"][1]["what"], "b \"quoted\"");
  EXPECT_EQ(json["findings"][1]["verdict"], "error");
  EXPECT_EQ(FindingsText(findings, false),
            "machine\n  good    a\n\nmodel\n  ERROR   b \"quoted\"\n          -> do c\n\n"
            "1 error, 0 warnings, 2 things looked at\n");
  EXPECT_THAT(FindingsText(findings, true), HasSubstr("\033[1;31mERROR   \033[0m"));
}

}  // namespace
}  // namespace baton::cli
