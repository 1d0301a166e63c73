// The conformance suite over one device, each case in a process of its own.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "device/conformance/op_case.h"
#include "device/device_factory.h"

namespace baton::cli {

// How one case went. A chip that crashes or hangs ends only its case's process.
struct CaseOutcome {
  device::OpCase op;
  std::string failure;  // empty, or why there is no report: an op's error, a signal, a time-out
  device::OpReport report;
  double rate = 0;       // of the large form: operations per second, 0 where the op does none
  double bandwidth = 0;  // of the large form: bytes per second
  bool passed() const { return failure.empty() && report.passed(op); }
};

// What opening the device says, or why it cannot be opened.
absl::StatusOr<std::string> DescribeDevice(const device::DeviceOptions& options, int timeout_s);

// Every case in turn; `on_outcome` hears of each as it ends. Without speed the large forms are left
// out.
std::vector<CaseOutcome> RunSuite(const device::DeviceOptions& options, int timeout_s,
                                  bool with_speed,
                                  const std::function<void(const CaseOutcome&)>& on_outcome);

}  // namespace baton::cli
