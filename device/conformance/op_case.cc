#include "device/conformance/op_case.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/conformance/case_data.h"
#include "device/conformance/case_lists.h"

namespace baton::device {
namespace {

constexpr int kTimings = 5;

double RelativeError(const std::vector<float>& got, const std::vector<float>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (double{got[i]} - expected[i]) * (double{got[i]} - expected[i]);
    size += double{expected[i]} * expected[i];
  }
  const double error = std::sqrt(difference / std::max(size, 1e-300));
  return std::isnan(error) ? INFINITY : error;
}

}  // namespace

std::vector<OpCase> AllOpCases(bool large) {
  std::vector<OpCase> cases = WeightOpCases(large);
  for (OpCase& op : RowOpCases(large)) cases.push_back(std::move(op));
  return cases;
}

absl::StatusOr<OpReport> RunOpCase(const OpCase& op, Device& device, Device& reference) {
  BATON_ASSIGN_OR_RETURN(const OpCase::Compute judge, op.prepare(reference));
  BATON_ASSIGN_OR_RETURN(const std::vector<float> expected, judge({0, op.rows}));
  BATON_ASSIGN_OR_RETURN(const OpCase::Compute compute, op.prepare(device));
  BATON_ASSIGN_OR_RETURN(const std::vector<float> got, compute({0, op.rows}));
  if (got.size() != expected.size()) {
    return absl::InternalError(absl::StrCat("wrote ", got.size(), " numbers of ", expected.size()));
  }
  OpReport report;
  report.error = RelativeError(got, expected);
  report.same_bits = true;
  const size_t row_size = got.size() / static_cast<size_t>(op.rows);
  for (int64_t row = 0; row < op.rows; ++row) {
    BATON_ASSIGN_OR_RETURN(const std::vector<float> alone, compute({row, 1}));
    if (alone.size() != row_size ||
        std::memcmp(alone.data(), &got[row * row_size], row_size * sizeof(float)) != 0) {
      report.same_bits = false;
    }
  }
  report.seconds = INFINITY;
  for (int i = 0; i < kTimings; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    BATON_ASSIGN_OR_RETURN(const std::vector<float> again, compute({0, op.rows}));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    report.seconds = std::min(report.seconds, took.count());
    if (std::memcmp(again.data(), got.data(), got.size() * sizeof(float)) != 0) {
      report.same_bits = false;
    }
  }
  return report;
}

}  // namespace baton::device
