// One line about a cluster at work, for a log.
#pragma once

#include <string>

#include "cli/metrics_page.h"

namespace baton::cli {

// "3 running, 0 waiting, 41.2 prompt + 120.5 output tokens/s, KV 12 % used, 30 % of prompts cached,
// TTFT p50 0.05 s" over the time between the two.
std::string StatusLine(const MetricsPage& before, const MetricsPage& now);

// Whether anything ran, waited, began or ended between the two.
bool IsActive(const MetricsPage& before, const MetricsPage& now);

}  // namespace baton::cli
