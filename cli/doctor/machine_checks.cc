#include "cli/doctor/machine_checks.h"

#include <sys/resource.h>
#include <sys/timex.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/serve_banner.h"
#include "device/device_factory.h"
#include "engine/assembly.h"

namespace baton::cli {
namespace {

constexpr int64_t kOpenFilesWanted = 4096;
constexpr int64_t kMemoryWanted = int64_t{1} << 30;

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> WordsOf(const std::string& text) {
  return absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
}

// "MemTotal:  16384 kB" of /proc/meminfo, in bytes.
int64_t MemoryField(const std::vector<std::string>& words, const std::string& name) {
  const auto found = std::find(words.begin(), words.end(), name);
  int64_t kib = 0;
  if (found == words.end() || found + 1 == words.end()) return 0;
  return absl::SimpleAtoi(*(found + 1), &kib) ? kib * 1024 : 0;
}

// The word in brackets of "always [madvise] never".
std::string Chosen(const std::string& text) {
  const size_t begin = text.find('['), end = text.find(']');
  return begin == std::string::npos || end == std::string::npos
             ? ""
             : text.substr(begin + 1, end - begin - 1);
}

// "max 100000" or "150000 100000" of a container's cpu.max.
double Quota(const std::string& text) {
  const std::vector<std::string> words = WordsOf(text);
  double quota = 0, period = 0;
  if (words.size() != 2 || !absl::SimpleAtod(words[0], &quota) ||
      !absl::SimpleAtod(words[1], &period) || period <= 0) {
    return 0;
  }
  return quota / period;
}

void JudgeCpu(const MachineFacts& facts, Findings* findings) {
  const std::string best = facts.isa_levels.empty() ? "scalar" : facts.isa_levels[0];
  const std::string what =
      absl::StrCat("instruction set: ", best, " is the best of what this CPU has (",
                   absl::StrJoin(facts.isa_levels, ", "), ")");
  if (best == "scalar") {
    findings->push_back(
        {"machine", Verdict::kWarning, what,
         "without AVX2 everything works, but many times slower: use a newer CPU, or "
         "let the hypervisor pass its features on"});
  } else {
    findings->push_back({"machine", Verdict::kGood, what, ""});
  }
  const std::string cpus = absl::StrCat(facts.cpus, " CPUs for this process");
  if (facts.cpu_quota > 0 && facts.cpu_quota < facts.cpus - 0.01) {
    findings->push_back(
        {"machine", Verdict::kWarning,
         absl::StrFormat(
             "%s, but the container allows only %.1f: threads would wait for each other", cpus,
             facts.cpu_quota),
         absl::StrFormat("set threads so that all nodes together have %d, or raise the limit",
                         std::max(1, static_cast<int>(facts.cpu_quota)))});
  } else if (facts.load > 1.5 * facts.cpus) {
    findings->push_back(
        {"machine", Verdict::kWarning,
         absl::StrFormat("%s, and %.1f processes want one: other work runs here", cpus, facts.load),
         "end the other work, or expect long and uneven times between tokens"});
  } else {
    findings->push_back({"machine", Verdict::kGood, cpus, ""});
  }
}

void JudgeMemory(const MachineFacts& facts, Findings* findings) {
  const bool limited = facts.memory_limit > 0 && facts.memory_limit < facts.memory_total;
  const std::string what = absl::StrCat(
      BytesText(facts.memory_available), " of ", BytesText(facts.memory_total), " memory available",
      limited ? absl::StrCat("; the container may take ", BytesText(facts.memory_limit)) : "");
  if (facts.memory_available < kMemoryWanted) {
    findings->push_back({"machine", Verdict::kWarning, what,
                         "a KV pool takes a quarter of it unless kv_bytes says otherwise: end what "
                         "takes memory, or set kv_bytes"});
  } else if (limited) {
    findings->push_back(
        {"machine", Verdict::kWarning, what,
         "the default of kv_bytes is taken from the machine's memory: set kv_bytes"});
  } else {
    findings->push_back({"machine", Verdict::kGood, what, ""});
  }
  if (facts.huge_pages == "never") {
    findings->push_back({"machine", Verdict::kWarning,
                         "large pages are off: reading weights costs more address translation",
                         "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (as root)"});
  } else if (!facts.huge_pages.empty()) {
    findings->push_back(
        {"machine", Verdict::kGood, absl::StrCat("large pages: ", facts.huge_pages), ""});
  }
}

}  // namespace

MachineFacts ReadMachine(const std::string& root) {
  MachineFacts facts;
  facts.isa_levels = device::AvailableIsaLevels();
  facts.cpus = engine::UsableCpus();
  facts.cpu_quota = Quota(ReadText(root + "/sys/fs/cgroup/cpu.max"));
  const std::vector<std::string> load = WordsOf(ReadText(root + "/proc/loadavg"));
  if (load.empty() || !absl::SimpleAtod(load[0], &facts.load)) facts.load = 0;
  const std::vector<std::string> memory = WordsOf(ReadText(root + "/proc/meminfo"));
  facts.memory_total = MemoryField(memory, "MemTotal:");
  facts.memory_available = MemoryField(memory, "MemAvailable:");
  const std::vector<std::string> limit = WordsOf(ReadText(root + "/sys/fs/cgroup/memory.max"));
  if (limit.empty() || !absl::SimpleAtoi(limit[0], &facts.memory_limit)) facts.memory_limit = 0;
  facts.huge_pages = Chosen(ReadText(root + "/sys/kernel/mm/transparent_hugepage/enabled"));
  rlimit files = {};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0)
    facts.open_files = static_cast<int64_t>(files.rlim_cur);
  timex clock = {};
  facts.clock_synchronised = adjtimex(&clock) != TIME_ERROR;
  return facts;
}

void JudgeMachine(const MachineFacts& facts, Findings* findings) {
  JudgeCpu(facts, findings);
  JudgeMemory(facts, findings);
  if (facts.open_files < kOpenFilesWanted) {
    findings->push_back(
        {"machine", Verdict::kWarning,
         absl::StrCat("at most ", facts.open_files, " open files: a router needs one a client"),
         "ulimit -n 65536 before the start, or LimitNOFILE=65536 in its systemd unit"});
  }
  if (!facts.clock_synchronised) {
    findings->push_back({"machine", Verdict::kNote,
                         "the kernel does not know its clock to be synchronised: certificates and "
                         "the logs of several machines need clocks that agree",
                         "run chrony or systemd-timesyncd (in a container: on the host)"});
  }
}

}  // namespace baton::cli
