// Memory of the host for devices that compute on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "device/buffer.h"

namespace baton::device {

// At least 64-byte aligned and zeroed. Pieces of 2 MiB and more are aligned to huge pages and ask
// for them; their pages are touched first by whoever writes first. ResourceExhausted names the
// size.
absl::StatusOr<Buffer> AllocateHost(size_t bytes);

// Memory for many pieces that are read one after the other, again and again: they lie side by side
// in huge pages, whatever their size. On a page of 4 KiB the CPU stops to fetch ahead, and a
// virtual machine walks two page tables for the next one: a matrix of half a megabyte in small
// pages is read at half the speed. Not thread-safe; pieces may outlive the arena.
class HostArena {
 public:
  // As AllocateHost, but a piece's memory is given back together with its neighbours': when the
  // arena and they are gone, or have gone on to other memory.
  absl::StatusOr<Buffer> Allocate(size_t bytes);

 private:
  std::shared_ptr<Buffer> slab_;
  size_t used_ = 0;
};

}  // namespace baton::device
