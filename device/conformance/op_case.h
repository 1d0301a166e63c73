// One op with one set of seeded arguments, to be run on any device.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "device/device.h"

namespace baton::device {

// The rows of a case's batch that one run computes.
struct RowRange {
  int64_t begin = 0, count = 0;
};

struct OpCase {
  std::string op;      // "linear"
  std::string what;    // "q4_1, norm and bias"
  int64_t rows = 0;    // of the whole batch
  double error_limit;  // relative: rms of the difference over rms of the expected values
  double flops = 0;    // of the whole batch: multiplications and additions
  double bytes = 0;    // that it must read and write at least once
  // Prepares everything on `device` and returns what computes rows of the batch there: the op's
  // output for those rows, row by row. What it returns may be called any number of times while the
  // device lives.
  using Compute = std::function<absl::StatusOr<std::vector<float>>(RowRange)>;
  std::function<absl::StatusOr<Compute>(Device& device)> prepare;
};

// What a case showed.
struct OpReport {
  double error = 0;        // relative to the reference
  bool same_bits = false;  // every row alone gives the bits that it gives in the batch, twice
  double seconds = 0;      // of one run of the whole batch, the best of several
  bool passed(const OpCase& op) const { return same_bits && error <= op.error_limit; }
};

// Every op, with odd sizes, each dtype, and the options of its arguments. `large` gives sizes worth
// timing instead.
std::vector<OpCase> AllOpCases(bool large);

// Runs a case on `device` and on `reference`. Errors are those of the ops.
absl::StatusOr<OpReport> RunOpCase(const OpCase& op, Device& device, Device& reference);

}  // namespace baton::device
