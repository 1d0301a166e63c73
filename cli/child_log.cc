#include "cli/child_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::cli {
namespace {

constexpr int kBarWidth = 24;

// N of "loading FILE: N %" (server/node_shell.h: LoadProgress).
std::optional<int> PercentOf(const std::string& line) {
  const size_t colon = line.rfind(": ");
  if (!absl::StartsWith(line, "loading ") || !absl::EndsWith(line, " %") ||
      colon == std::string::npos) {
    return std::nullopt;
  }
  int percent = 0;
  if (!absl::SimpleAtoi(line.substr(colon + 2, line.size() - colon - 4), &percent)) {
    return std::nullopt;
  }
  return percent;
}

}  // namespace

std::string JsonLogLine(const std::string& child, const std::string& line) {
  nlohmann::ordered_json object = {{"child", child}};
  const auto own = nlohmann::ordered_json::parse(line, nullptr, false);
  if (own.is_object()) {
    object.update(own);
  } else {
    object["message"] = line;
  }
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void ChildLog::DrawProgress() {
  std::string text = "\r\033[K";
  for (const auto& [child, percent] : percent_) {
    const int done = std::clamp(percent, 0, 100) * kBarWidth / 100;
    absl::StrAppendFormat(&text, "%s [%s%s] %d %%  ", child, std::string(done, '='),
                          std::string(kBarWidth - done, ' '), percent);
  }
  std::fputs(text.c_str(), out_);
  const bool all_done = std::all_of(percent_.begin(), percent_.end(),
                                    [](const auto& one) { return one.second >= 100; });
  if (all_done) {
    std::fputs("\n", out_);
    percent_.clear();
  }
  drawn_ = !all_done;
  std::fflush(out_);
}

void ChildLog::Write(const std::string& child, const std::string& line) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::optional<int> percent = terminal_ && !json_ ? PercentOf(line) : std::nullopt;
  if (percent) {
    percent_[child] = *percent;
    DrawProgress();
    return;
  }
  if (drawn_) std::fputs("\r\033[K", out_);
  const std::string text =
      json_ ? JsonLogLine(child, line) : absl::StrFormat("%-10s| %s", child, line);
  std::fprintf(out_, "%s\n", text.c_str());
  if (drawn_) DrawProgress();
}

}  // namespace baton::cli
