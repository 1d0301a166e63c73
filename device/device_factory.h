// Makes a device from its name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "device/device.h"

namespace baton::device {

struct DeviceOptions {
  std::string name = "d_chip";  // "cpu", "p_chip", "d_chip" or "plugin:LIBRARY.so"
  int threads = 1;              // 1 .. 256, the caller's thread included
  // "" = the best that this CPU has (or the environment variable BATON_ISA where it is set);
  // otherwise "scalar", "avx2", "avxvnni", "avx512vnni" or "amx". Ignored by "cpu".
  std::string isa;
};

// InvalidArgument names the allowed values; FailedPrecondition when the CPU lacks the wanted ISA
// level.
absl::StatusOr<std::unique_ptr<Device>> CreateDevice(const DeviceOptions& options);

// The ISA levels that this machine can run, best first; always ends with "scalar".
std::vector<std::string> AvailableIsaLevels();

}  // namespace baton::device
