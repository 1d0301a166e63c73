#include "device/block_formats.h"

#include <cstring>

namespace baton::device {

const int8_t kIq4Table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
const int8_t kMxfp4Table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

namespace {

constexpr int kSuper = 256;  // weights of a K block

uint16_t Load16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

uint32_t Load32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

float Half(const uint8_t* bytes) { return HalfToFloat(Load16(bytes)); }

// Element i of 32 nibbles.
int Nibble(const uint8_t* nibbles, int i) {
  return i < 16 ? nibbles[i] & 0xf : nibbles[i - 16] >> 4;
}

// Q4_0, Q4_1, Q5_0, Q5_1: fp16 d, for *_1 fp16 m, for Q5_* 32 high bits, nibbles.
void DequantizeSmall(DType dtype, const uint8_t* block, float* out) {
  const bool has_min = dtype == DType::kQ4_1 || dtype == StoredFormat::kQ5_1;
  const bool five_bits = dtype == StoredFormat::kQ5_0 || dtype == StoredFormat::kQ5_1;
  const float d = Half(block), m = has_min ? Half(block + 2) : 0.0f;
  const uint8_t* rest = block + (has_min ? 4 : 2);
  const uint32_t high = five_bits ? Load32(rest) : 0;
  const uint8_t* nibbles = rest + (five_bits ? 4 : 0);
  const int zero = five_bits ? 16 : 8;
  for (int i = 0; i < 32; ++i) {
    const int q = Nibble(nibbles, i) | static_cast<int>(high >> i & 1) << 4;
    out[i] = has_min ? d * static_cast<float>(q) + m : d * static_cast<float>(q - zero);
  }
}

void DequantizeQ8_0(const uint8_t* block, float* out) {
  const float d = Half(block);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// 16 bytes of scale (low half) and minimum (high half), 64 bytes of quants, d, dmin. Each 32 bytes
// of quants hold 128 weights, the first 32 in their lowest two bits.
void DequantizeQ2K(const uint8_t* block, float* out) {
  const uint8_t* quants = block + 16;
  const float d = Half(block + 80), dmin = Half(block + 82);
  for (int i = 0; i < kSuper; ++i) {
    const uint8_t pair = block[i / 16];
    const float scale = d * static_cast<float>(pair & 0xf);
    const float minimum = dmin * static_cast<float>(pair >> 4);
    const int q = quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    out[i] = scale * static_cast<float>(q) - minimum;
  }
}

// 32 bytes of high bits, 64 bytes of quants as in Q2_K, 12 bytes of scales, d.
void DequantizeQ3K(const uint8_t* block, float* out) {
  const float d = Half(block + 108);
  for (int i = 0; i < kSuper; ++i) {
    const float scale = d * static_cast<float>(ReadQ3Scale(block + 96, i / 16));
    out[i] = scale * static_cast<float>(ReadQ3Quant(block, i));
  }
}

// d, dmin, 12 bytes of scales, for Q5_K 32 bytes of high bits, 128 bytes of nibbles: each 32 bytes
// hold 64 weights, the first 32 in the low halves.
void DequantizeQ45K(DType dtype, const uint8_t* block, float* out) {
  const bool five_bits = dtype == StoredFormat::kQ5_K;
  const float d = Half(block), dmin = Half(block + 2);
  const uint8_t* high = block + 16;
  const uint8_t* nibbles = block + (five_bits ? 48 : 16);
  for (int part = 0; part < 8; ++part) {
    const SixBitPair pair = ReadSixBitPair(block + 4, part);
    const float scale = d * static_cast<float>(pair.scale);
    const float minimum = dmin * static_cast<float>(pair.minimum);
    for (int i = 0; i < 32; ++i) {
      int q = nibbles[part / 2 * 32 + i] >> (part % 2 * 4) & 0xf;
      if (five_bits) q |= (high[i] >> part & 1) << 4;
      out[part * 32 + i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

// 128 bytes of low nibbles, 64 bytes of high two bits, 16 signed scales, d. Each 64 bytes of
// nibbles hold 128 weights, the first 64 in the low halves; each 32 bytes of high bits hold 128.
void DequantizeQ6K(const uint8_t* block, float* out) {
  const float d = Half(block + 208);
  for (int i = 0; i < kSuper; ++i) {
    const float scale = d * static_cast<float>(static_cast<int8_t>(block[192 + i / 16]));
    const int low = block[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 0xf;
    const int high = block[128 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    out[i] = scale * static_cast<float>((low | high << 4) - 32);
  }
}

void DequantizeIq4Nl(const uint8_t* block, float* out) {
  const float d = Half(block);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kIq4Table[Nibble(block + 2, i)]);
}

// d, 2 bytes of high and 4 of low scale bits, 8 times 16 bytes of nibbles.
void DequantizeIq4Xs(const uint8_t* block, float* out) {
  const float d = Half(block);
  for (int part = 0; part < 8; ++part) {
    const float scale = d * static_cast<float>(ReadIq4XsScale(block, part));
    for (int i = 0; i < 32; ++i) {
      out[part * 32 + i] = scale * static_cast<float>(kIq4Table[Nibble(block + 8 + part * 16, i)]);
    }
  }
}

void DequantizeMxfp4(const uint8_t* block, float* out) {
  const float d = ReadMxfp4Scale(block);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kMxfp4Table[Nibble(block + 1, i)]);
}

void DequantizeInt4Zero(const uint8_t* block, float* out) {
  float d;
  std::memcpy(&d, block, sizeof(d));
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(Nibble(block + 5, i) - block[4]);
}

void DequantizeBlock(DType dtype, const uint8_t* block, float* out) {
  if (dtype == DType::kQ8_0) return DequantizeQ8_0(block, out);
  if (dtype == StoredFormat::kQ2_K) return DequantizeQ2K(block, out);
  if (dtype == StoredFormat::kQ3_K) return DequantizeQ3K(block, out);
  if (dtype == StoredFormat::kQ4_K || dtype == StoredFormat::kQ5_K) {
    return DequantizeQ45K(dtype, block, out);
  }
  if (dtype == StoredFormat::kQ6_K) return DequantizeQ6K(block, out);
  if (dtype == StoredFormat::kIq4Nl) return DequantizeIq4Nl(block, out);
  if (dtype == StoredFormat::kIq4Xs) return DequantizeIq4Xs(block, out);
  if (dtype == StoredFormat::kMxfp4) return DequantizeMxfp4(block, out);
  if (dtype == StoredFormat::kInt4Zero) return DequantizeInt4Zero(block, out);
  DequantizeSmall(dtype, block, out);
}

}  // namespace

SixBitPair ReadSixBitPair(const uint8_t* packed, int index) {
  if (index < 4) return {packed[index] & 63, packed[index + 4] & 63};
  return {(packed[index + 4] & 0xf) | packed[index - 4] >> 6 << 4,
          packed[index + 4] >> 4 | packed[index] >> 6 << 4};
}

int ReadQ3Scale(const uint8_t* packed, int index) {
  const int low = packed[index % 8] >> (index / 8 * 4) & 0xf;
  const int high = packed[8 + index % 4] >> (index / 4 * 2) & 3;
  return (low | high << 4) - 32;
}

int ReadQ3Quant(const uint8_t* block, int index) {
  const int low = block[32 + index / 128 * 32 + index % 32] >> (index / 32 % 4 * 2) & 3;
  const bool high = (block[index % 32] >> (index / 32) & 1) != 0;
  return high ? low : low - 4;
}

int ReadIq4XsScale(const uint8_t* block, int index) {
  const int low = block[4 + index / 2] >> (index % 2 * 4) & 0xf;
  const int high = Load16(block + 2) >> (2 * index) & 3;
  return (low | high << 4) - 32;
}

float ReadMxfp4Scale(const uint8_t* block) {
  // 2^-128 and 2^-127 are subnormal floats.
  const uint32_t e = block[0];
  const uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  return scale;
}

void Dequantize(DType dtype, const void* data, int64_t count, float* out) {
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = Half(bytes + 2 * i);
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = BFloat16ToFloat(Load16(bytes + 2 * i));
      return;
    default:
      for (int64_t begin = 0; begin < count; begin += BlockElements(dtype)) {
        DequantizeBlock(dtype, bytes + begin / BlockElements(dtype) * BlockBytes(dtype),
                        out + begin);
      }
  }
}

}  // namespace baton::device
