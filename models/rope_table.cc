#include "models/rope_table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

// Rows computed at once: about a millisecond.
constexpr int64_t kStepRows = 1024;
constexpr double kPi = 3.14159265358979323846;

double SmoothLlama3(const RopeConfig& rope, double frequency) {
  const double context = static_cast<double>(rope.original_context);
  const double wavelength = 2 * kPi / frequency;
  if (wavelength < context / rope.high_freq_factor) return frequency;
  if (wavelength > context / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (context / wavelength - rope.low_freq_factor) /
                        (static_cast<double>(rope.high_freq_factor) - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// Pairs below `first` keep their frequency, pairs above `last` are interpolated by the factor, a
// ramp lies between.
struct YarnRamp {
  double first = 0;
  double last = 0;
};

YarnRamp YarnRampOf(const RopeConfig& rope) {
  // The pair that turns `turns` times within the original context (equation in Peng et al.,
  // appendix A).
  const auto pair_of = [&](double turns) {
    return rope.rotary_dim *
           std::log(static_cast<double>(rope.original_context) / (turns * 2 * kPi)) /
           (2 * std::log(static_cast<double>(rope.base)));
  };
  YarnRamp ramp;
  ramp.first = pair_of(rope.beta_fast);
  ramp.last = pair_of(rope.beta_slow);
  if (rope.truncate) {
    ramp.first = std::floor(ramp.first);
    ramp.last = std::ceil(ramp.last);
  }
  ramp.first = std::max(0.0, ramp.first);
  ramp.last = std::min(rope.rotary_dim - 1.0, ramp.last);
  if (ramp.last == ramp.first) ramp.last += 0.001;
  return ramp;
}

}  // namespace

std::vector<double> RopeFrequencies(const RopeConfig& rope, int64_t context_length) {
  std::vector<double> frequencies(rope.rotary_dim / 2);
  const YarnRamp ramp = rope.scaling == RopeConfig::Scaling::kYarn ? YarnRampOf(rope) : YarnRamp{};
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency =
        std::pow(static_cast<double>(rope.base), -2.0 * static_cast<double>(i) / rope.rotary_dim);
    switch (rope.scaling) {
      case RopeConfig::Scaling::kNone:
        break;
      case RopeConfig::Scaling::kLinear:
        frequency /= rope.factor;
        break;
      case RopeConfig::Scaling::kLlama3:
        frequency = SmoothLlama3(rope, frequency);
        break;
      case RopeConfig::Scaling::kYarn: {
        const double interpolated =
            std::clamp((static_cast<double>(i) - ramp.first) / (ramp.last - ramp.first), 0.0, 1.0);
        frequency *= interpolated / rope.factor + (1 - interpolated);
        break;
      }
      case RopeConfig::Scaling::kFactors:
        frequency /= rope.frequency_factors[i];
        break;
      case RopeConfig::Scaling::kLongRope:
        frequency /=
            context_length > rope.original_context ? rope.long_factors[i] : rope.short_factors[i];
        break;
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}

double RopeMagnitude(const RopeConfig& rope) {
  if (rope.scaling == RopeConfig::Scaling::kLongRope) return rope.attention_factor;
  if (rope.scaling != RopeConfig::Scaling::kYarn) return 1.0;
  if (rope.attention_factor != 0) return rope.attention_factor;
  return rope.factor > 1 ? 0.1 * std::log(static_cast<double>(rope.factor)) + 1 : 1.0;
}

RopeTable::RopeTable(const RopeConfig& rope, int64_t context_length, device::Device& device)
    : device_(device),
      context_length_(context_length),
      rotary_dim_(rope.rotary_dim),
      magnitude_(RopeMagnitude(rope)),
      frequencies_(RopeFrequencies(rope, context_length)) {}

absl::Status RopeTable::Cover(int64_t positions) {
  BATON_CHECK(positions <= context_length_, "the caller checks positions against the context");
  if (positions <= rows_) return absl::OkStatus();
  const int64_t wanted =
      std::min(context_length_, (positions + kStepRows - 1) / kStepRows * kStepRows);
  BATON_RETURN_IF_ERROR(Reserve(wanted));
  const int64_t half = rotary_dim_ / 2;
  for (; rows_ < wanted; ++rows_) {
    float* row = memory_.floats() + rows_ * rotary_dim_;
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(rows_) * frequencies_[i];
      row[i] = static_cast<float>(std::cos(angle) * magnitude_);
      row[half + i] = static_cast<float>(std::sin(angle) * magnitude_);
    }
  }
  return absl::OkStatus();
}

absl::Status RopeTable::Reserve(int64_t rows) {
  if (rows <= capacity_) return absl::OkStatus();
  const int64_t capacity = std::min(context_length_, std::max(rows, 2 * capacity_));
  const int64_t row_bytes = int64_t{rotary_dim_} * sizeof(float);
  BATON_ASSIGN_OR_RETURN(device::Buffer grown, device_.Allocate(capacity * row_bytes));
  if (rows_ > 0) std::memcpy(grown.data(), memory_.data(), rows_ * row_bytes);
  memory_ = std::move(grown);
  capacity_ = capacity;
  return absl::OkStatus();
}

device::ConstMatrixView RopeTable::view() const { return memory_.matrix(rows_, rotary_dim_); }

}  // namespace baton::models
