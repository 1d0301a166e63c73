// The scratch memory of a step: one matrix per purpose, shared by all layers.
#pragma once

#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "device/buffer.h"
#include "device/device.h"

namespace baton::models {

// What a matrix holds; layers that want the same purpose with other widths share its memory.
enum class Scratch : uint8_t {
  kResidual,
  kQuery,
  kKey,
  kValue,
  kAttended,
  kProjected,
  kCompressed,
  kRouter,
  kGated,
};

// Not thread-safe. Layers reserve while they are loaded, so that a step allocates nothing.
class StepMemory {
 public:
  // Matrices of up to `max_rows` rows. `device` must outlive the memory.
  StepMemory(device::Device& device, int64_t max_rows) : device_(device), max_rows_(max_rows) {}

  // Makes room for max_rows rows of `cols`. ResourceExhausted: no memory.
  absl::Status Reserve(Scratch purpose, int64_t cols);
  // Contents are what the last user left. REQUIRES: reserved with at least `cols`.
  device::MatrixView Get(Scratch purpose, int64_t rows, int64_t cols) const;

 private:
  struct Matrix {
    device::Buffer memory;
    int64_t cols = 0;
  };
  device::Device& device_;
  int64_t max_rows_;
  std::map<Scratch, Matrix> matrices_;
};

}  // namespace baton::models
