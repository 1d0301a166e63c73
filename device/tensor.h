// Views of two-dimensional data in device memory. They own nothing.
#pragma once

#include <cstdint>

#include "device/dtype.h"

namespace baton::device {

// Row-major matrix of float32. `stride` is the distance between rows, in elements (>= cols).
struct MatrixView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* row(int64_t r) const { return data + r * stride; }
};

// The same, read only.
struct ConstMatrixView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  ConstMatrixView() = default;
  ConstMatrixView(const float* d, int64_t r, int64_t c, int64_t s)
      : data(d), rows(r), cols(c), stride(s) {}
  ConstMatrixView(const MatrixView& m)  // NOLINT: implicit on purpose, like T* to const T*.
      : data(m.data), rows(m.rows), cols(m.cols), stride(m.stride) {}
  const float* row(int64_t r) const { return data + r * stride; }
};

// A weight as a file stores it, in host memory: row-major [rows, cols], each row RowBytes(dtype,
// cols) long.
struct StoredTensor {
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const void* data = nullptr;
};

}  // namespace baton::device
