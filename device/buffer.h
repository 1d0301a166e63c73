// A piece of device memory that frees itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "device/tensor.h"

namespace baton::device {

// Owns memory from Device::Allocate: 64-byte aligned, zeroed, in huge pages where it is large.
// Movable, not copyable.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t bytes, std::function<void(void*, size_t)> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  ~Buffer() { Reset(); }
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      Reset();
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
      release_ = std::move(other.release_);
    }
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  float* floats() const { return static_cast<float*>(data_); }
  // The first rows * cols floats as a dense matrix. REQUIRES: they fit.
  MatrixView matrix(int64_t rows, int64_t cols) const { return {floats(), rows, cols, cols}; }

 private:
  void Reset() {
    if (data_ != nullptr) release_(data_, bytes_);
    data_ = nullptr;
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(void*, size_t)> release_;
};

}  // namespace baton::device
