#include "models/step_memory.h"

#include "base/check.h"
#include "base/status_macros.h"

namespace baton::models {

absl::Status StepMemory::Reserve(Scratch purpose, int64_t cols) {
  Matrix& matrix = matrices_[purpose];
  if (cols <= matrix.cols) return absl::OkStatus();
  matrix = {};
  BATON_ASSIGN_OR_RETURN(matrix.memory, device_.Allocate(max_rows_ * cols * sizeof(float)));
  matrix.cols = cols;
  return absl::OkStatus();
}

device::MatrixView StepMemory::Get(Scratch purpose, int64_t rows, int64_t cols) const {
  const auto at = matrices_.find(purpose);
  BATON_CHECK(at != matrices_.end() && cols <= at->second.cols && rows <= max_rows_,
              "layers reserve what they use");
  return at->second.memory.matrix(rows, cols);
}

}  // namespace baton::models
