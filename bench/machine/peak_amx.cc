#include <immintrin.h>

#include "bench/machine/peak_loops.h"

namespace baton::bench {
namespace {

// 16 rows of 64 bytes in every register.
void ShapeTiles() {
  struct Shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  alignas(64) Shapes shapes = {};
  shapes.palette = 1;
  for (int i = 0; i < 8; ++i) {
    shapes.row_bytes[i] = 64;
    shapes.rows[i] = 16;
  }
  asm volatile("" ::"r"(&shapes) : "memory");  // the intrinsic does not say that it reads all of it
  _tile_loadconfig(&shapes);
}

uint32_t FirstSum() {
  alignas(64) uint32_t sums[256];
  _tile_stored(0, sums, 64);
  _tile_release();
  return sums[0];
}

}  // namespace

uint32_t Int8Amx(int64_t rounds) {
  ShapeTiles();
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  return FirstSum();
}

uint32_t Bf16Amx(int64_t rounds) {
  ShapeTiles();
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return FirstSum();
}

}  // namespace baton::bench
