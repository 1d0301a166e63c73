// A device behind the plugin ABI (baton_device.h): `--device plugin:/path/libchip.so`.
//
// What can go wrong with code that is not ours, and what happens then:
// - an op, or a weight's dtype, that the chip lacks: the reference computes it; one warning a case,
// naming it
// - an op that fails: the call returns Internal with the op's name and the plugin's text
// - an op that writes NaN or infinity: Internal with the op's name and the place
// - a crash: the process says on stderr which op of which plugin it was in, and dies of the signal
// - a call that does not come back within BATON_PLUGIN_TIMEOUT_MS (30,000 by default): likewise,
// with exit code 70 A node that ends so has answered nothing wrong: its streams go on elsewhere, as
// after any death of a node.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "device/device.h"

namespace baton::device {

struct PluginOptions {
  std::string path;  // of the shared library
  int threads = 1;   // handed to the plugin
  // Receives each warning once; default: stderr.
  std::function<void(const std::string& warning)> warn;
};

// NotFound when the library cannot be loaded, with the loader's reason; FailedPrecondition when it
// exports no baton_device_plugin, speaks another version or has an incomplete table; Internal, with
// the plugin's own text, when the chip does not open.
absl::StatusOr<std::unique_ptr<Device>> LoadPluginDevice(const PluginOptions& options);

}  // namespace baton::device
