#include "router/learnt_line.h"

#include <algorithm>

namespace baton::router {
namespace {

constexpr double kKeep = 0.95;
// Sizes that differ by less than this part of their mean say nothing about the slope.
constexpr double kRelativeSpread = 0.05;

}  // namespace

void LearntLine::Observe(double units, double seconds, absl::Time now) {
  if (!(units > 0) || !(seconds >= 0)) return;
  MutexLock lock(mutex_);
  weight_ = kKeep * weight_ + 1;
  sum_x_ = kKeep * sum_x_ + units;
  sum_y_ = kKeep * sum_y_ + seconds;
  sum_xx_ = kKeep * sum_xx_ + units * units;
  sum_xy_ = kKeep * sum_xy_ + units * seconds;
  const double mean_x = sum_x_ / weight_;
  const double mean_y = sum_y_ / weight_;
  const double variance = sum_xx_ / weight_ - mean_x * mean_x;
  const double covariance = sum_xy_ / weight_ - mean_x * mean_y;
  double slope = mean_y / mean_x;
  double fixed = 0;
  if (variance > kRelativeSpread * kRelativeSpread * mean_x * mean_x && covariance > 0) {
    slope = std::min(slope, covariance / variance);
    fixed = mean_y - slope * mean_x;
  }
  fixed_s_.store(fixed, std::memory_order_relaxed);
  unit_s_.store(slope, std::memory_order_relaxed);
  observed_ns_.store(std::max<int64_t>(absl::ToUnixNanos(now), 1), std::memory_order_relaxed);
}

Line LearntLine::At(int64_t now_ns) const {
  const int64_t observed = observed_ns_.load(std::memory_order_relaxed);
  if (observed == 0 || now_ns - observed > absl::ToInt64Nanoseconds(kForgetAfter)) {
    return {};
  }
  return {fixed_s_.load(std::memory_order_relaxed), unit_s_.load(std::memory_order_relaxed), true};
}

}  // namespace baton::router
