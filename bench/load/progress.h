// How far the run is: a bar on a terminal, one line every tenth elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace baton::bench {

class Progress {
 public:
  // Writes to `out` (not owned; null: shows nothing).
  Progress(std::FILE* out, int64_t total);

  // `now_s` since the start of the run. Redraws a bar at most ten times a second.
  void Update(int64_t done, int64_t failed, int64_t in_flight, double now_s);
  // Leaves the bar behind on its own line.
  void Finish();

 private:
  void DrawBar(int64_t done, int64_t failed, int64_t in_flight, double now_s);

  std::FILE* out_;
  int64_t total_;
  bool is_terminal_;
  double drawn_at_s_ = -1;
  int64_t tenths_shown_ = 0;
};

}  // namespace baton::bench
