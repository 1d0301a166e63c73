// All inner loops at ISA level "amx": AVX-512 VNNI, and the matrix unit
// where rows are many. Compiled with that level's flags, so it includes
// nothing but intrinsics, plain data and its own .inl files: an inline function of a library
// compiled here could be linked for a CPU that cannot run it.
#include <immintrin.h>
#include <stdint.h>

#include "device/kernels/kernel_table.h"

namespace baton::device::kernels {
namespace {

constexpr char kIsa[] = "amx";

// Rows in a tile of activations and in registers, strips that a tile of the output spans, the order
// of a tile's bytes, and whether the CPU multiplies whole tiles (matrix_*.inl).
constexpr int kTileRows = 16;
constexpr int kRegisterRows = 8;
constexpr int kTileStrips = 2;
// Strips of packed weights that up to kFewRows rows read side by side, and more rows.
constexpr int kFewRowStrips = 4, kFewRows = 2, kManyRowStrips = 2;
constexpr bool kRowMajor = true;
constexpr bool kMatrixTiles = true;
constexpr int32_t kPanelRowsMin = 33;  // two tiles of 16: the third is the first that pays

// Rows that share a loaded vector of keys or values, and vectors that a row takes at a time: what
// the registers hold.
constexpr int kAttentionRows = 4;
constexpr int kAttentionVectors = 4;
constexpr int kBf16Vectors = 2;  // half of them hold even, half odd sums

// The order matters.
// clang-format off
#include "device/kernels/lanes_avx512.inl"
#include "device/kernels/dots_avx512.inl"
#include "device/kernels/float_ops.inl"
#include "device/kernels/linear.inl"
#include "device/kernels/matrix_amx.inl"
#include "device/kernels/attention_bf16.inl"
#include "device/kernels/attention_tiles.inl"
#include "device/kernels/attention.inl"
#include "device/kernels/attention_amx.inl"
#include "device/kernels/kernel_table.inl"
// clang-format on

}  // namespace

extern const KernelTable* const kAmxTable;
const KernelTable* const kAmxTable = &kTable;

}  // namespace baton::device::kernels
