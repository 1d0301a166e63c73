// `baton top`: a cluster live in a terminal.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/top_screen.h"

namespace baton::cli {
namespace {

struct TopOptions {
  std::string url = "http://127.0.0.1:8000";
  double interval_s = 1;
  bool once = false;
};

constexpr size_t kHistory = 40;

std::atomic<bool> stopped{false};

// The terminal in raw mode on its second screen, for the life of the object.
class Screen {
 public:
  Screen() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    std::fputs("\033[?1049h\033[?25l", stdout);
    struct sigaction action = {};
    action.sa_handler = [](int) { stopped = true; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    action.sa_handler = [](int) {};  // only so that poll returns and the frame is drawn anew
    sigaction(SIGWINCH, &action, nullptr);
  }
  ~Screen() {
    std::fputs("\033[?25h\033[?1049l", stdout);
    std::fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }

  static void Show(const std::string& frame) {
    std::string text = "\033[H";
    for (const char c : frame) text += c == '\n' ? std::string("\033[K\n") : std::string(1, c);
    text += "\033[K\033[J";
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

 private:
  termios before_ = {};
};

std::string TimeOfDay() { return absl::FormatTime("%H:%M:%S", absl::Now(), absl::LocalTimeZone()); }

void FitToTerminal(TopView* view) {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return;
  view->columns = size.ws_col;
  view->rows = size.ws_row;
}

// Waits; true when a key that ends it was pressed.
bool QuitWithin(absl::Duration time) {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  char key = 0;
  return poll(&input, 1, static_cast<int>(absl::ToInt64Milliseconds(time))) > 0 &&
         (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q');
}

absl::Status Once(const TopOptions& options, TopView view) {
  BATON_ASSIGN_OR_RETURN(const MetricsPage before, FetchMetrics(options.url, absl::Seconds(5)));
  usleep(static_cast<useconds_t>(options.interval_s * 1e6));
  BATON_ASSIGN_OR_RETURN(const MetricsPage now, FetchMetrics(options.url, absl::Seconds(5)));
  view.columns = std::max(view.columns, 120);
  view.clock = TimeOfDay();
  view.rows = 0;
  std::fputs(TopFrame(before, now, view).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Live(const TopOptions& options, TopView view) {
  BATON_ASSIGN_OR_RETURN(MetricsPage before, FetchMetrics(options.url, absl::Seconds(5)));
  MetricsPage now = before;
  const Screen screen;
  while (!stopped) {
    FitToTerminal(&view);
    view.clock = TimeOfDay();
    Screen::Show(TopFrame(before, now, view));
    if (QuitWithin(absl::Seconds(options.interval_s))) break;
    absl::StatusOr<MetricsPage> next = FetchMetrics(options.url, absl::Seconds(2));
    view.trouble = next.ok() ? "" : std::string(next.status().message());
    // A window that is being resized is drawn anew at once; rates over such moments would jump.
    if (!next.ok() || next->time - now.time < absl::Milliseconds(200)) continue;
    before = std::move(now);
    now = *std::move(next);
    view.history.push_back(Rate(before, now, "baton_node_tokens_generated_total"));
    if (view.history.size() > kHistory) view.history.erase(view.history.begin());
  }
  return absl::OkStatus();
}

}  // namespace

void AddTopCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* command = app.add_subcommand("top", "Show a cluster live in the terminal; q quits");
  command->add_option("--url", options->url, "router, as http://host:port")->capture_default_str();
  command->add_option("--interval-s", options->interval_s, "seconds between two frames")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->add_flag("--once", options->once,
                    "print one frame and exit (always so without a terminal)");
  command->callback([options, exit_code] {
    const bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
    const char* no_color = std::getenv("NO_COLOR");
    TopView view;
    view.url = options->url;
    view.color = isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0');
    const absl::Status status =
        options->once || !terminal ? Once(*options, view) : Live(*options, view);
    if (status.ok()) return;
    std::fprintf(stderr, "baton top: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace baton::cli
