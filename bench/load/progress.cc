#include "bench/load/progress.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_format.h"

namespace baton::bench {

Progress::Progress(std::FILE* out, int64_t total)
    : out_(out),
      total_(std::max<int64_t>(1, total)),
      is_terminal_(out && isatty(fileno(out)) == 1) {}

void Progress::Update(int64_t done, int64_t failed, int64_t in_flight, double now_s) {
  if (out_ == nullptr) return;
  if (is_terminal_) {
    if (done < total_ && now_s - drawn_at_s_ < 0.1) return;
    drawn_at_s_ = now_s;
    DrawBar(done, failed, in_flight, now_s);
    return;
  }
  const int64_t tenths = 10 * done / total_;
  if (tenths <= tenths_shown_) return;
  tenths_shown_ = tenths;
  absl::FPrintF(out_, "%d/%d requests done, %d failed, %d in flight, %.1f s\n", done, total_,
                failed, in_flight, now_s);
  std::fflush(out_);
}

void Progress::DrawBar(int64_t done, int64_t failed, int64_t in_flight, double now_s) {
  constexpr int64_t kWidth = 30;
  const auto filled = static_cast<size_t>(kWidth * done / total_);
  absl::FPrintF(out_, "\r%3d%% [%s%s] %d/%d, %d failed, %d in flight, %.1f s ", 100 * done / total_,
                std::string(filled, '#'), std::string(kWidth - filled, '.'), done, total_, failed,
                in_flight, now_s);
  std::fflush(out_);
}

void Progress::Finish() {
  if (out_ != nullptr && is_terminal_) std::fputs("\n", out_);
}

}  // namespace baton::bench
