// What an op needs besides its arguments: the inner loops, the threads and scratch memory.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "device/host_memory.h"
#include "device/kernels/kernel_table.h"
#include "device/thread_team.h"

namespace baton::device::kernels {

// Memory that only grows, 64-byte aligned; its contents are lost when it grows. Reused by every op
// of a device.
class Scratch {
 public:
  // At least `bytes` bytes; valid until the next call.
  uint8_t* Get(size_t bytes) {
    if (bytes > bytes_) {
      memory_.reset(static_cast<uint8_t*>(::operator new[](bytes, std::align_val_t{64})));
      bytes_ = bytes;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(uint8_t* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<uint8_t[], Free> memory_;
  size_t bytes_ = 0;
};

// One per device; one op at a time.
struct CpuContext {
  CpuContext(const KernelTable& t, int threads)
      : table(t), team(threads), scratch(threads), panels(threads) {}

  const KernelTable& table;
  ThreadTeam team;
  HostArena weights;             // packed, in the order in which they were prepared
  Scratch shared;                // by all members of a run
  std::vector<Scratch> scratch;  // one per member
  std::vector<Scratch> panels;   // likewise, for unpacked weights
};

}  // namespace baton::device::kernels
