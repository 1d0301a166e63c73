#include "cli/top_screen.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace baton::cli {
namespace {

constexpr int kBarWidth = 20;
constexpr const char* kSparks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

// Styles by what they mean, as ANSI codes.
enum class Style { kPlain, kTitle, kSoft, kPrefill, kDecode, kGood, kBad };
constexpr const char* kCodes[] = {"", "1", "2", "33", "34", "32", "1;31"};

// A line of styled pieces, cut at a width.
class Line {
 public:
  Line(const TopView& view, std::string* out) : view_(view), out_(out) {}
  ~Line() { out_->push_back('\n'); }

  Line& Add(absl::string_view text, Style style = Style::kPlain) {
    const absl::string_view shown = Cut(text);
    const bool styled = view_.color && style != Style::kPlain && !shown.empty();
    if (styled) absl::StrAppend(out_, "\033[", kCodes[static_cast<int>(style)], "m");
    absl::StrAppend(out_, shown);
    if (styled) absl::StrAppend(out_, "\033[0m");
    return *this;
  }

 private:
  // What still fits; characters are counted, not bytes.
  absl::string_view Cut(absl::string_view text) {
    size_t end = 0;
    for (; end < text.size(); ++end) {
      const bool begins = (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80;
      if (begins && used_ == view_.columns) break;
      used_ += begins ? 1 : 0;
    }
    return text.substr(0, end);
  }

  const TopView& view_;
  std::string* out_;
  int used_ = 0;
};

std::string TimeText(std::optional<double> seconds) {
  if (!seconds) return "-";
  if (*seconds >= 1) return absl::StrFormat("%.2f s", *seconds);
  return absl::StrFormat("%.1f ms", 1e3 * *seconds);
}

std::string RateText(double value) {
  if (value >= 1e9) return absl::StrFormat("%.1fG", value / 1e9);
  if (value >= 1e6) return absl::StrFormat("%.1fM", value / 1e6);
  if (value >= 1e4) return absl::StrFormat("%.1fk", value / 1e3);
  return absl::StrFormat("%.1f", value);
}

std::string Sparkline(const std::vector<double>& values) {
  if (values.empty()) return "";
  const double top = std::max(*std::max_element(values.begin(), values.end()), 1e-9);
  std::string text;
  for (const double value : values) {
    text += kSparks[std::clamp(static_cast<int>(value / top * 7.999), 0, 7)];
  }
  return text;
}

class Frame {
 public:
  Frame(const MetricsPage& before, const MetricsPage& now, const TopView& view)
      : before_(before), now_(now), view_(view) {}

  std::string Draw() {
    Head();
    Totals();
    Nodes();
    return std::move(out_);
  }

 private:
  double Growth(const std::string& name, const Labels& where = {}) {
    return baton::cli::Rate(before_, now_, name, where);
  }

  void Head() {
    const double up = now_.Sum("baton_node_up");
    const auto nodes = now_.samples.find("baton_node_up");
    const double gone =
        nodes == now_.samples.end() ? 0 : static_cast<double>(nodes->second.size()) - up;
    Line line(view_, &out_);
    line.Add("Baton ", Style::kTitle).Add(view_.url);
    line.Add(absl::StrFormat("  %.0f nodes up", up), up > 0 ? Style::kGood : Style::kBad);
    if (gone > 0) line.Add(absl::StrFormat(", %.0f gone", gone), Style::kBad);
    line.Add("  " + view_.clock, Style::kSoft);
    if (!view_.trouble.empty()) line.Add("  no answer: " + view_.trouble, Style::kBad);
  }

  void Totals() {
    Requests();
    Tokens();
    Latency();
  }

  void Requests() {
    const double errors = now_.Sum("baton_requests_total", {{"outcome", "error"}});
    const double retries = now_.Sum("baton_retries_total");
    Line(view_, &out_)
        .Add("requests  ", Style::kSoft)
        .Add(absl::StrFormat("%.0f running, %.0f waiting, %.0f in line; since start %.0f",
                             now_.Sum("baton_sequences_running"),
                             now_.Sum("baton_sequences_waiting"),
                             now_.Sum("baton_admission_waiting"), now_.Sum("baton_requests_total")))
        .Add(absl::StrFormat(", %.0f in error", errors), errors > 0 ? Style::kBad : Style::kPlain)
        .Add(absl::StrFormat(", %.0f moved", retries), retries > 0 ? Style::kBad : Style::kPlain);
  }

  void Tokens() {
    const double computed = Growth("baton_node_prompt_tokens_computed_total");
    const double cached = Growth("baton_node_prompt_tokens_cached_total");
    Line tokens(view_, &out_);
    tokens.Add("tokens/s  ", Style::kSoft)
        .Add("prompt " + RateText(computed), Style::kPrefill)
        .Add(computed + cached > 0 ? absl::StrFormat(" (%.0f %% more from caches)",
                                                     100 * cached / std::max(computed, 1e-9))
                                   : "")
        .Add("  output " + RateText(Growth("baton_node_tokens_generated_total")), Style::kDecode)
        .Add("  ")
        .Add(Sparkline(view_.history), Style::kDecode);
  }

  void Latency() {
    const auto quantile = [&](const char* name, double share) {
      return TimeText(Quantile(before_, now_, name, share));
    };
    Line(view_, &out_)
        .Add("latency   ", Style::kSoft)
        .Add(absl::StrCat("first token p50 ", quantile("baton_time_to_first_token_seconds", 0.5),
                          ", p99 ", quantile("baton_time_to_first_token_seconds", 0.99),
                          "; between tokens p50 ",
                          quantile("baton_inter_token_latency_seconds", 0.5), ", p99 ",
                          quantile("baton_inter_token_latency_seconds", 0.99)));
  }

  void Nodes() {
    Line(view_, &out_);
    Line(view_, &out_)
        .Add(absl::StrFormat("%-16s %-8s %4s %5s %8s %8s %9s  %-*s %9s", "NODE", "ROLE", "RUN",
                             "WAIT", "QUEUED", "TOKENS/s", "STEP", kBarWidth + 7, "KV BLOCKS",
                             "LINK B/s"),
             Style::kSoft);
    constexpr int kLinesBefore = 6;
    const std::vector<std::string> ids = now_.ValuesOf("baton_node_up", "node");
    size_t shown = ids.size();
    if (view_.rows > 0 && kLinesBefore + static_cast<int>(ids.size()) > view_.rows - 1) {
      shown = static_cast<size_t>(std::max(0, view_.rows - kLinesBefore - 2));
    }
    for (size_t i = 0; i < shown; ++i) Node(ids[i]);
    if (shown < ids.size()) {
      Line(view_, &out_)
          .Add(absl::StrCat("... and ", ids.size() - shown, " nodes more"), Style::kSoft);
    }
  }

  void Node(const std::string& id) {
    const Labels own = {{"node", id}};
    const std::string role = IsRole(id, "prefill") ? "prefill" : "decode";
    const Style style = role == "prefill" ? Style::kPrefill : Style::kDecode;
    Line line(view_, &out_);
    line.Add(absl::StrFormat("%-16s ", id)).Add(absl::StrFormat("%-8s ", role), style);
    if (now_.Sum("baton_node_up", own) == 0) {
      line.Add("gone", Style::kBad);
      return;
    }
    const double step = now_.Sum("baton_node_step_seconds", own);
    const double tokens = Growth("baton_node_prompt_tokens_computed_total", own) +
                          Growth("baton_node_tokens_generated_total", own);
    line.Add(absl::StrFormat("%4.0f %5.0f %8.0f %8s %9s  ",
                             now_.Sum("baton_node_sequences_running", own),
                             now_.Sum("baton_node_sequences_waiting", own),
                             now_.Sum("baton_node_prompt_tokens_queued", own), RateText(tokens),
                             step > 0 ? TimeText(step) : "-"));
    Blocks(id, style, &line);
    line.Add(absl::StrFormat(" %9s", RateText(Growth("baton_node_kv_sent_bytes_total", own) +
                                              Growth("baton_node_kv_received_bytes_total", own))));
    if (now_.Sum("baton_node_draining", own) > 0) line.Add("  draining", Style::kBad);
  }

  bool IsRole(const std::string& id, const std::string& role) {
    const auto nodes = now_.samples.find("baton_node_up");
    return nodes != now_.samples.end() &&
           std::any_of(nodes->second.begin(), nodes->second.end(), [&](const MetricSample& sample) {
             const auto node = sample.labels.find("node"), its = sample.labels.find("role");
             return node != sample.labels.end() && its != sample.labels.end() &&
                    node->second == id && its->second == role;
           });
  }

  // A bar of used (#), leased (+), cached (-) and free blocks, with the part that is taken.
  void Blocks(const std::string& id, Style style, Line* line) {
    const auto blocks = [&](const char* state) {
      return now_.Sum("baton_node_kv_blocks", {{"node", id}, {"state", state}});
    };
    const double total = std::max(blocks("total"), 1.0);
    const auto width = [&](double count) {
      return count > 0 ? std::max(1, static_cast<int>(count / total * kBarWidth + 0.5)) : 0;
    };
    std::string bar = absl::StrCat(std::string(width(blocks("used")), '#'),
                                   std::string(width(blocks("leased")), '+'),
                                   std::string(width(blocks("cached")), '-'));
    bar.resize(kBarWidth, ' ');
    const double taken = blocks("used") + blocks("leased");
    line->Add("[").Add(bar, style).Add(absl::StrFormat("] %3.0f %%", 100 * taken / total));
  }

  const MetricsPage& before_;
  const MetricsPage& now_;
  const TopView& view_;
  std::string out_;
};

}  // namespace

std::string TopFrame(const MetricsPage& before, const MetricsPage& now, const TopView& view) {
  return Frame(before, now, view).Draw();
}

}  // namespace baton::cli
