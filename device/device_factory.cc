#include "device/device_factory.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "device/cpu_reference/cpu_reference.h"
#include "device/d_chip/d_chip.h"
#include "device/p_chip/p_chip.h"
#include "device/plugin/plugin_device.h"

namespace baton::device {

absl::StatusOr<std::unique_ptr<Device>> CreateDevice(const DeviceOptions& options) {
  if (options.threads < 1 || options.threads > 256) {
    return absl::InvalidArgumentError(
        absl::StrCat("device threads: ", options.threads, ", needs 1 to 256"));
  }
  if (options.name == "cpu") return MakeCpuReference();
  if (options.name == "p_chip") return MakePChip(options);
  if (options.name == "d_chip") return MakeDChip(options);
  absl::string_view path = options.name;
  if (absl::ConsumePrefix(&path, "plugin:")) {
    return LoadPluginDevice({.path = std::string(path), .threads = options.threads});
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown device '", options.name, "': needs cpu, p_chip, d_chip or plugin:LIBRARY.so"));
}

}  // namespace baton::device
