// A weight in the form that one chip computes with. Made by Device::Prepare, opaque to everybody
// else.
#pragma once

#include <cstdint>

#include "device/dtype.h"

namespace baton::device {

class Weight {
 public:
  virtual ~Weight() = default;
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;

  int64_t rows() const { return rows_; }  // outputs
  int64_t cols() const { return cols_; }  // inputs
  DType source_dtype() const { return source_dtype_; }
  int64_t packed_bytes() const { return packed_bytes_; }  // memory that the packed form takes

 protected:
  Weight(DType source_dtype, int64_t rows, int64_t cols, int64_t packed_bytes)
      : source_dtype_(source_dtype), rows_(rows), cols_(cols), packed_bytes_(packed_bytes) {}

 private:
  DType source_dtype_;
  int64_t rows_;
  int64_t cols_;
  int64_t packed_bytes_;
};

}  // namespace baton::device
