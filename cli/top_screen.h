// What `baton top` draws: a cluster on a screen of characters.
#pragma once

#include <string>
#include <vector>

#include "cli/metrics_page.h"

namespace baton::cli {

struct TopView {
  std::string url;
  std::string clock;  // the time of day, as shown
  int columns = 80;
  int rows = 24;                // nodes that do not fit are counted in the last line; 0: no limit
  bool color = false;           // ANSI colours
  std::string trouble;          // why there is no newer page; empty: `now` is fresh
  std::vector<double> history;  // output tokens/s of the latest frames, oldest first
};

// One frame of the time between the two pages: lines of at most `columns` characters, each ended by
// a newline.
std::string TopFrame(const MetricsPage& before, const MetricsPage& now, const TopView& view);

}  // namespace baton::cli
