#include "device/kernels/packed_weight.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "device/kernels/repack.h"

namespace baton::device::kernels {
namespace {

Form FormOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
      return Form::kW4Min;
    case DType::kQ4_0:
      return Form::kW4;
    case DType::kQ8_0:
      return Form::kW8;
    case DType::kF32:
      return Form::kF32;
    case DType::kF16:
      return Form::kF16;
    case DType::kBF16:
      return Form::kBF16;
    default:
      break;
  }
  BATON_CHECK(false, "RepackedDType gives no other");
}

int64_t TileBytesOf(Form form) {
  return form == Form::kW4Min ? 320 : form == Form::kW4 ? 288 : 544;
}

int64_t StripBytes(Form form, int64_t cols) {
  if (IsQuantised(form)) return cols / kGroupCols * TileBytesOf(form);
  return cols * kStripRows * (form == Form::kF32 ? 4 : 2);
}

// One stored block of 32 weights into lane `row` of a tile.
void PackBlock(Form form, const uint8_t* block, int row, uint8_t* tile) {
  uint8_t* scales = tile + (form == Form::kW8 ? 512 : 256);
  std::memcpy(scales + row * 2, block, 2);
  if (form == Form::kW8) {
    for (int quad = 0; quad < 8; ++quad) {
      std::memcpy(tile + quad * 64 + row * 4, block + 2 + quad * 4, 4);
    }
    return;
  }
  if (form == Form::kW4Min) std::memcpy(scales + 32 + row * 2, block + 2, 2);
  // Stored: byte i holds columns i (low nibble) and i + 16 (high nibble); so does quad i / 4 with
  // quad i / 4 + 4.
  const uint8_t* nibbles = block + (form == Form::kW4Min ? 4 : 2);
  for (int quad = 0; quad < 4; ++quad) {
    std::memcpy(tile + quad * 64 + row * 4, nibbles + quad * 4, 4);
  }
}

// `dtype`: what RepackedDType says of `stored`. `scratch`: a strip of it, where that is another
// one.
void PackQuantisedStrip(const StoredTensor& stored, DType dtype, const PackedView& view,
                        int64_t strip, uint8_t* scratch, uint8_t* out) {
  const int64_t groups = view.cols / kGroupCols;
  const int64_t block_bytes = BlockBytes(dtype);
  const int64_t rows = std::min<int64_t>(kStripRows, view.rows - strip * kStripRows);
  const int64_t row_bytes = RowBytes(stored.dtype, view.cols);
  const uint8_t* in = static_cast<const uint8_t*>(stored.data) + strip * kStripRows * row_bytes;
  if (dtype != stored.dtype) {
    for (int64_t row = 0; row < rows; ++row) {
      RepackRow(stored.dtype, in + row * row_bytes, view.cols, dtype,
                scratch + row * groups * block_bytes);
    }
    in = scratch;
  }
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t row = 0; row < rows; ++row) {
      PackBlock(view.form, in + (row * groups + g) * block_bytes, static_cast<int>(row),
                out + g * TileBytesOf(view.form));
    }
  }
}

template <typename T>
void PackPlainStrip(const StoredTensor& stored, const PackedView& view, int64_t strip, T* out) {
  const int64_t rows = std::min<int64_t>(kStripRows, view.rows - strip * kStripRows);
  const T* in = static_cast<const T*>(stored.data) + strip * kStripRows * view.cols;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < view.cols; ++k) out[k * kStripRows + row] = in[row * view.cols + k];
  }
}

}  // namespace

bool IsQuantised(Form form) {
  return form == Form::kW4Min || form == Form::kW4 || form == Form::kW8;
}

PackedWeight::PackedWeight(const StoredTensor& stored, const PackedView& view, Buffer memory)
    : Weight(stored.dtype, stored.rows, stored.cols, view.strips * view.strip_bytes),
      view_(view),
      memory_(std::move(memory)) {
  view_.data = static_cast<const uint8_t*>(memory_.data());
}

absl::StatusOr<std::unique_ptr<PackedWeight>> PackedWeight::Pack(const StoredTensor& stored,
                                                                 ThreadTeam& team,
                                                                 HostArena& arena) {
  const DType dtype = RepackedDType(stored);
  PackedView view{FormOf(dtype), stored.rows, stored.cols, 0, 0, nullptr};
  view.strips = (stored.rows + kStripRows - 1) / kStripRows;
  view.strip_bytes = StripBytes(view.form, stored.cols);
  BATON_ASSIGN_OR_RETURN(Buffer memory,
                         arena.Allocate(static_cast<size_t>(view.strips * view.strip_bytes)));
  uint8_t* data = static_cast<uint8_t*>(memory.data());
  team.Run([&](int member) {
    const int64_t begin = view.strips * member / team.size();
    const int64_t end = view.strips * (member + 1) / team.size();
    std::vector<uint8_t> scratch;
    if (dtype != stored.dtype) scratch.resize(kStripRows * RowBytes(dtype, stored.cols));
    for (int64_t strip = begin; strip < end; ++strip) {
      uint8_t* out = data + strip * view.strip_bytes;
      if (IsQuantised(view.form)) {
        PackQuantisedStrip(stored, dtype, view, strip, scratch.data(), out);
      } else if (view.form == Form::kF32) {
        PackPlainStrip(stored, view, strip, reinterpret_cast<uint32_t*>(out));
      } else {
        PackPlainStrip(stored, view, strip, reinterpret_cast<uint16_t*>(out));
      }
    }
  });
  return std::unique_ptr<PackedWeight>(new PackedWeight(stored, view, std::move(memory)));
}

void PackedWeight::DequantizeRow(int64_t row, float* out) const {
  const uint8_t* strip = view_.data + row / kStripRows * view_.strip_bytes;
  const int64_t lane = row % kStripRows;
  if (!IsQuantised(view_.form)) {
    for (int64_t k = 0; k < view_.cols; ++k) {
      const int64_t at = k * kStripRows + lane;
      if (view_.form == Form::kF32) {
        out[k] = reinterpret_cast<const float*>(strip)[at];
      } else {
        const uint16_t bits = reinterpret_cast<const uint16_t*>(strip)[at];
        out[k] = view_.form == Form::kF16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
      }
    }
    return;
  }
  for (int64_t g = 0; g < view_.cols / kGroupCols; ++g) {
    const uint8_t* tile = strip + g * TileBytesOf(view_.form);
    const uint16_t* scales =
        reinterpret_cast<const uint16_t*>(tile + (view_.form == Form::kW8 ? 512 : 256));
    const float d = HalfToFloat(scales[lane]);
    const float m = view_.form == Form::kW4Min ? HalfToFloat(scales[16 + lane]) : 0.0f;
    for (int k = 0; k < kGroupCols; ++k) {
      const int quad = k / 4;
      float* value = out + g * kGroupCols + k;
      if (view_.form == Form::kW8) {
        *value = d * static_cast<float>(static_cast<int8_t>(tile[quad * 64 + lane * 4 + k % 4]));
        continue;
      }
      const uint8_t byte = tile[(quad & 3) * 64 + lane * 4 + k % 4];
      const int q = quad < 4 ? byte & 0xf : byte >> 4;
      *value = view_.form == Form::kW4Min ? d * static_cast<float>(q) + m
                                          : d * static_cast<float>(q - 8);
    }
  }
}

}  // namespace baton::device::kernels
