// What a case holds on a device: data on its way there and back.
#pragma once

#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "device/conformance/op_case.h"
#include "device/conformance/random_values.h"
#include "device/device.h"

namespace baton::device {

// What a case holds on one device. Addresses stay while it lives.
class CaseMemory {
 public:
  explicit CaseMemory(Device& device) : device_(device) {}
  Device& device() const { return device_; }

  absl::StatusOr<float*> Floats(const std::vector<float>& values) {
    BATON_ASSIGN_OR_RETURN(uint8_t * data, Bytes(values.size() * sizeof(float)));
    BATON_RETURN_IF_ERROR(device_.Copy(data, values.data(), values.size() * sizeof(float)));
    return reinterpret_cast<float*>(data);
  }
  absl::StatusOr<MatrixView> Matrix(const std::vector<float>& values, int64_t cols) {
    BATON_ASSIGN_OR_RETURN(float* data, Floats(values));
    return MatrixView{data, static_cast<int64_t>(values.size()) / cols, cols, cols};
  }
  absl::StatusOr<uint8_t*> Bytes(size_t bytes) {
    BATON_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(bytes));
    buffers_.push_back(std::move(buffer));
    return static_cast<uint8_t*>(buffers_.back().data());
  }
  absl::StatusOr<const Weight*> Weigh(DType dtype, int64_t rows, int64_t cols,
                                      const std::vector<uint8_t>& stored) {
    BATON_ASSIGN_OR_RETURN(std::unique_ptr<Weight> weight,
                           device_.Prepare({dtype, rows, cols, stored.data()}));
    weights_.push_back(std::move(weight));
    return weights_.back().get();
  }
  absl::StatusOr<std::vector<float>> Read(const MatrixView& m) {
    std::vector<float> values(static_cast<size_t>(m.rows * m.cols));
    for (int64_t r = 0; r < m.rows; ++r) {
      BATON_RETURN_IF_ERROR(device_.Copy(&values[r * m.cols], m.row(r), m.cols * sizeof(float)));
    }
    return values;
  }

 private:
  Device& device_;
  std::list<Buffer> buffers_;
  std::list<std::unique_ptr<Weight>> weights_;
};

// A case as a class: Init prepares everything, Run computes some rows.
template <typename Case, typename... Options>
std::function<absl::StatusOr<OpCase::Compute>(Device&)> CaseOf(Options... options) {
  return [=](Device& device) -> absl::StatusOr<OpCase::Compute> {
    auto op = std::make_shared<Case>(device, options...);
    BATON_RETURN_IF_ERROR(op->Init());
    return [op](RowRange rows) { return op->Run(rows); };
  };
}

inline MatrixView Rows(const MatrixView& m, RowRange rows) {
  return {m.row(rows.begin), rows.count, m.cols, m.stride};
}

}  // namespace baton::device
