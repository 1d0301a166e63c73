#include "device/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::device {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kPage = 4096;
// Memory that an arena asks for at a time. What no piece uses is never touched, so it costs
// nothing.
constexpr size_t kSlab = size_t{64} << 20;
// Between pieces: two lines, which is what CPUs fetch at a time.
constexpr size_t kPieceAlignment = 128;

}  // namespace

absl::StatusOr<Buffer> AllocateHost(size_t bytes) {
  if (bytes == 0) return Buffer();
  const size_t alignment = bytes >= kHugePage ? kHugePage : kPage;
  if (bytes > SIZE_MAX - 2 * kHugePage) {
    return absl::ResourceExhaustedError(absl::StrCat("device memory: ", bytes, " bytes wanted"));
  }
  const size_t length = (bytes + alignment - 1) / alignment * alignment;
  // mmap gives zeroed pages on first touch; the surplus around the aligned piece is given back.
  const size_t reserved = length + (alignment > kPage ? alignment : 0);
  void* mapped =
      mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("device memory: ", bytes, " bytes wanted, the host has no more"));
  }
  const uintptr_t begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = (begin + alignment - 1) / alignment * alignment;
  if (aligned > begin) munmap(mapped, aligned - begin);
  const uintptr_t end = begin + reserved;
  if (end > aligned + length) {
    munmap(reinterpret_cast<void*>(aligned + length), end - (aligned + length));
  }
  void* data = reinterpret_cast<void*>(aligned);
  if (alignment == kHugePage) madvise(data, length, MADV_HUGEPAGE);  // advice: may be refused
  return Buffer(data, bytes, [length](void* memory, size_t) { munmap(memory, length); });
}

absl::StatusOr<Buffer> HostArena::Allocate(size_t bytes) {
  if (bytes == 0) return Buffer();
  if (slab_ == nullptr || bytes > slab_->bytes() - used_) {
    BATON_ASSIGN_OR_RETURN(Buffer slab, AllocateHost(std::max(bytes, kSlab)));
    slab_ = std::make_shared<Buffer>(std::move(slab));
    used_ = 0;
  }
  uint8_t* data = static_cast<uint8_t*>(slab_->data()) + used_;
  const size_t left = slab_->bytes() - used_;
  used_ += std::min((bytes + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment, left);
  return Buffer(data, bytes, [slab = slab_](void*, size_t) {});
}

}  // namespace baton::device
