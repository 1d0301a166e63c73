// Weights as the kernels read them: strips of 16 rows, contiguous over the columns.
//
// Quantised forms: a strip is a sequence of tiles, one per group of 32 columns. A line is 64 bytes,
// 16 rows x 4 columns: byte row * 4 + i belongs to column 4 * j + i of the group for line (quad) j.
//
//   kW4Min  320 bytes  4 lines of nibbles, 16 fp16 d, 16 fp16 m      w = d * q + m        (Q4_1)
//   kW4     288 bytes  4 lines of nibbles, 16 fp16 d                 w = d * (q - 8)      (Q4_0)
//   kW8     544 bytes  8 lines of int8,    16 fp16 d                 w = d * q            (Q8_0)
//
// Nibble line j holds quad j in the low and quad j + 4 in the high halves of its bytes. The plain
// forms hold [columns][16 rows] of float, fp16 or bfloat16. All are lossless. Rows are padded to 16
// with zeros.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "device/buffer.h"
#include "device/host_memory.h"
#include "device/kernels/kernel_table.h"
#include "device/tensor.h"
#include "device/thread_team.h"
#include "device/weight.h"

namespace baton::device::kernels {

class PackedWeight final : public Weight {
 public:
  // Packs on all members of `team` into memory of `arena`; each touches first the strips that it
  // will read, as far as huge pages can tell them apart. ResourceExhausted without memory.
  static absl::StatusOr<std::unique_ptr<PackedWeight>> Pack(const StoredTensor& stored,
                                                            ThreadTeam& team, HostArena& arena);

  const PackedView& view() const { return view_; }
  // Row `row` as floats: out[cols]. The values equal those of the stored format.
  void DequantizeRow(int64_t row, float* out) const;

 private:
  PackedWeight(const StoredTensor& stored, const PackedView& view, Buffer memory);
  PackedView view_;
  Buffer memory_;
};

// True for the forms whose activations are quantised to int8.
bool IsQuantised(Form form);

}  // namespace baton::device::kernels
