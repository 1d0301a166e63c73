#include "cli/doctor/cluster_checks.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "cli/http_client.h"

namespace baton::cli {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(5);
// Logs of several machines cannot be read side by side beyond this, and certificates may be
// refused.
constexpr double kSkewSeconds = 1;
constexpr double kKvFull = 0.95;

void AddCluster(Findings* findings, Verdict verdict, std::string what, std::string cure = "") {
  findings->push_back({"cluster", verdict, std::move(what), std::move(cure)});
}

std::string Field(const MetricSample& sample, const char* label) {
  const auto found = sample.labels.find(label);
  return found == sample.labels.end() ? "" : found->second;
}

const std::vector<MetricSample>& SamplesOf(const MetricsPage& page, const char* name) {
  static const std::vector<MetricSample> none;
  const auto found = page.samples.find(name);
  return found == page.samples.end() ? none : found->second;
}

void JudgeVersions(const ClusterFacts& facts, Findings* findings) {
  bool alike = true;
  for (const MetricSample& node : SamplesOf(facts.metrics, "baton_node_info")) {
    const std::string id = Field(node, "node"), version = Field(node, "version");
    if (version != facts.version) {
      alike = false;
      AddCluster(
          findings, Verdict::kWarning,
          absl::StrCat(id, " runs Baton ", version, ", the router ", facts.version),
          "update the older ones, one after the other: SIGTERM lets each finish its streams");
    }
    if (absl::StartsWith(Field(node, "device"), "cpu")) {
      AddCluster(findings, Verdict::kWarning,
                 absl::StrCat(id, " computes on the slow reference (cpu)"),
                 "device: \"p_chip\" for prefill, \"d_chip\" for decode");
    }
  }
  if (alike) AddCluster(findings, Verdict::kGood, absl::StrCat("all run Baton ", facts.version));
  for (const MetricSample& node : SamplesOf(facts.metrics, "baton_node_clock_skew_seconds")) {
    if (std::abs(node.value) <= kSkewSeconds) continue;
    AddCluster(findings, Verdict::kWarning,
               absl::StrFormat("the clock of %s is %.1f s %s the router's", Field(node, "node"),
                               std::abs(node.value), node.value > 0 ? "ahead of" : "behind"),
               "synchronise both (chrony, systemd-timesyncd)");
  }
}

void JudgeNodes(const ClusterFacts& facts, Findings* findings) {
  const MetricsPage& page = facts.metrics;
  for (const char* role : {"prefill", "decode"}) {
    const double count = page.Sum("baton_nodes", {{"role", role}});
    const bool needed = absl::string_view(role) == "decode" || !facts.not_ready.empty();
    if (count > 0) {
      AddCluster(findings, Verdict::kGood, absl::StrFormat("%.0f %s node(s)", count, role));
    } else {
      AddCluster(findings, needed ? Verdict::kError : Verdict::kNote,
                 absl::StrCat("no ", role, " node"),
                 needed ? absl::StrCat("start one (baton serve --role ", role,
                                       "); if one runs, its log says why it is not registered")
                        : "decode nodes compute all prompts");
    }
  }
  for (const MetricSample& node : SamplesOf(page, "baton_node_up")) {
    const std::string id = Field(node, "node");
    if (node.value == 0) {
      AddCluster(findings, Verdict::kWarning, absl::StrCat(id, " was here and is gone"),
                 "look at its log and start it again; its streams went on elsewhere");
    } else if (page.Sum("baton_node_draining", {{"node", id}}) > 0) {
      AddCluster(findings, Verdict::kNote, absl::StrCat(id, " drains: it takes nothing new"));
    }
    if (page.Sum("baton_node_kv_frames_refused_total", {{"node", id}}) > 0) {
      AddCluster(findings, Verdict::kWarning,
                 absl::StrFormat("%s refused %.0f KV frames since its start", id,
                                 page.Sum("baton_node_kv_frames_refused_total", {{"node", id}})),
                 "a few after a failover are normal; if they grow, look for a bad link or memory");
    }
  }
}

void JudgeLoad(const ClusterFacts& facts, Findings* findings) {
  const MetricsPage& page = facts.metrics;
  const double usage = page.Sum("baton_kv_usage");
  const double line = page.Sum("baton_admission_waiting");
  if (usage > kKvFull) {
    AddCluster(findings, Verdict::kWarning,
               absl::StrFormat("%.0f %% of the decode nodes' KV blocks are taken", 100 * usage),
               "raise kv_bytes, lower max_running, or add a decode node");
  } else {
    AddCluster(findings, Verdict::kGood, absl::StrFormat("KV blocks: %.0f %% taken", 100 * usage));
  }
  if (line > 0) {
    AddCluster(findings, Verdict::kNote, absl::StrFormat("%.0f requests stand in line", line),
               "normal at a peak; if it stays, add nodes of the role whose queue is long");
  }
  const double all = page.Sum("baton_requests_total");
  const double errors = page.Sum("baton_requests_total", {{"outcome", "error"}});
  if (errors > 0) {
    AddCluster(findings, errors > 0.01 * all ? Verdict::kWarning : Verdict::kNote,
               absl::StrFormat("%.0f of %.0f requests since the router's start ended in an error",
                               errors, all),
               "grep outcome=error in the router's log");
  }
  const double moved = page.Sum("baton_retries_total");
  if (moved > 0) {
    AddCluster(findings, Verdict::kNote,
               absl::StrFormat("%.0f attempts failed on a node and went on elsewhere", moved),
               "the router's log names the nodes (\"decode on ... failed\")");
  }
}

std::string ErrorMessage(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("error") || !json["error"].is_object()) return body;
  return json["error"].value("message", body);
}

}  // namespace

void JudgeCluster(const ClusterFacts& facts, Findings* findings) {
  const std::string answers =
      absl::StrFormat("%s answers (Baton %s, %.1f ms)", facts.url, facts.version,
                      absl::ToDoubleMilliseconds(facts.round_trip));
  AddCluster(findings, Verdict::kGood, answers);
  if (!facts.not_ready.empty()) {
    AddCluster(findings, Verdict::kError, absl::StrCat("not ready: ", facts.not_ready),
               "see docs/troubleshooting.md, Answers that fail");
  }
  JudgeNodes(facts, findings);
  JudgeVersions(facts, findings);
  JudgeLoad(facts, findings);
}

void CheckCluster(const std::string& url, Findings* findings) {
  ClusterFacts facts;
  facts.url = url;
  const absl::Time begin = SystemClock::Get().Now();
  const auto version = HttpGet(url, "/version", kTimeout);
  facts.round_trip = SystemClock::Get().Now() - begin;
  if (!version.ok()) {
    AddCluster(findings, Verdict::kError, absl::StrCat(url, ": ", version.status().message()),
               "is the router running there, and is its port open (host: \"0.0.0.0\" for other "
               "machines)?");
    return;
  }
  const auto json = nlohmann::json::parse(version->body, nullptr, false);
  if (version->status != 200 || !json.is_object() || !json.contains("version")) {
    AddCluster(findings, Verdict::kError, absl::StrCat(url, " answers, but is no Baton router"),
               "give the address of the HTTP API (port 8000 by default)");
    return;
  }
  facts.version = json["version"].is_string() ? json["version"].get<std::string>() : "?";
  const auto ready = HttpGet(url, "/ready", kTimeout);
  if (!ready.ok()) facts.not_ready = std::string(ready.status().message());
  if (ready.ok() && ready->status != 200) facts.not_ready = ErrorMessage(ready->body);
  auto metrics = FetchMetrics(url, kTimeout);
  if (!metrics.ok()) {
    AddCluster(findings, Verdict::kError, std::string(metrics.status().message()));
    return;
  }
  facts.metrics = *std::move(metrics);
  JudgeCluster(facts, findings);
}

}  // namespace baton::cli
