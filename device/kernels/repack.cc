#include "device/kernels/repack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "device/block_formats.h"

namespace baton::device::kernels {
namespace {

constexpr int kGroup = 32;
constexpr int64_t kSuper = 256;
constexpr int64_t kInt8Bytes = 34, kInt4MinBytes = 20;

float ReadHalf(const uint8_t* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof(half));
  return HalfToFloat(half);
}

void WriteHalf(float value, uint8_t* out) {
  const uint16_t half = FloatToHalf(value);
  std::memcpy(out, &half, sizeof(half));
}

float ReadFloat(const uint8_t* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

int Nibble(const uint8_t* nibbles, int i) {
  return i < 16 ? nibbles[i] & 0xf : nibbles[i - 16] >> 4;
}

// The least fp16 number that `most / 127` does not exceed; NaN where there is none.
float ScaleFor(float most) {
  const float wanted = most / 127.0f;
  uint16_t half = FloatToHalf(wanted);
  if (HalfToFloat(half) < wanted) ++half;  // the next larger magnitude
  const float scale = HalfToFloat(half);
  return std::isfinite(scale) ? scale : std::numeric_limits<float>::quiet_NaN();
}

// 32 values rounded to steps of a common fp16 scale, as a Q8_0 block.
void RoundToInt8(const float* values, uint8_t* out) {
  float most = 0;
  for (int i = 0; i < kGroup; ++i) {
    // Also true for NaN.
    if (!(std::fabs(values[i]) <= most)) most = std::fabs(values[i]);
    if (std::isnan(most)) break;
  }
  const float scale = ScaleFor(most);
  WriteHalf(scale, out);
  for (int i = 0; i < kGroup; ++i) {
    // In double, so that a subnormal scale cannot push a value of `most` beyond 127.
    const double q = scale > 0 ? std::nearbyint(double{values[i]} / double{scale}) : 0;
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(q, -127.0, 127.0)));
  }
}

void PackQ5_0(const uint8_t* block, uint8_t* out) {
  uint32_t high;
  std::memcpy(&high, block + 2, sizeof(high));
  std::memcpy(out, block, 2);
  for (int i = 0; i < kGroup; ++i) {
    const int q = Nibble(block + 6, i) | static_cast<int>(high >> i & 1) << 4;
    out[2 + i] = static_cast<uint8_t>(q - 16);
  }
}

void PackTable(float scale, const int8_t* table, const uint8_t* nibbles, uint8_t* out) {
  WriteHalf(scale, out);
  for (int i = 0; i < kGroup; ++i) out[2 + i] = static_cast<uint8_t>(table[Nibble(nibbles, i)]);
}

void PackMxfp4(const uint8_t* block, uint8_t* out) {
  const float scale = ReadMxfp4Scale(block);
  if (HalfToFloat(FloatToHalf(scale)) == scale) {
    return PackTable(scale, kMxfp4Table, block + 1, out);
  }
  float values[kGroup];
  Dequantize(StoredFormat::kMxfp4, block, kGroup, values);
  RoundToInt8(values, out);
}

// scale * quant is an integer from -124 to 128; with the sign of d turned, all of them are int8.
void PackQ3K(const uint8_t* block, uint8_t* out) {
  const float d = -ReadHalf(block + 108);
  for (int i = 0; i < kSuper; ++i) {
    uint8_t* group = out + i / kGroup * kInt8Bytes;
    if (i % kGroup == 0) WriteHalf(d, group);
    const int w = ReadQ3Scale(block + 96, i / 16) * ReadQ3Quant(block, i);
    group[2 + i % kGroup] = static_cast<uint8_t>(-w);
  }
}

void PackQ4K(const uint8_t* block, uint8_t* out) {
  const float d = ReadHalf(block), dmin = ReadHalf(block + 2);
  for (int part = 0; part < 8; ++part, out += kInt4MinBytes) {
    const SixBitPair pair = ReadSixBitPair(block + 4, part);
    WriteHalf(d * static_cast<float>(pair.scale), out);
    WriteHalf(-(dmin * static_cast<float>(pair.minimum)), out + 2);
    const uint8_t* quants = block + 16 + part / 2 * 32;
    const int shift = part % 2 * 4;
    for (int i = 0; i < 16; ++i) {
      const int low = quants[i] >> shift & 0xf, high = quants[i + 16] >> shift & 0xf;
      out[4 + i] = static_cast<uint8_t>(low | high << 4);
    }
  }
}

void PackIq4Xs(const uint8_t* block, uint8_t* out) {
  const float d = ReadHalf(block);
  for (int part = 0; part < 8; ++part) {
    const float scale = d * static_cast<float>(ReadIq4XsScale(block, part));
    PackTable(scale, kIq4Table, block + 8 + part * 16, out + part * kInt8Bytes);
  }
}

void PackInt4Zero(const uint8_t* block, DType to, uint8_t* out) {
  WriteHalf(ReadFloat(block), out);
  if (to == DType::kQ4_0) {
    std::memcpy(out + 2, block + 5, 16);
    return;
  }
  WriteHalf(-ReadHalf(out) * static_cast<float>(block[4]), out + 2);
  std::memcpy(out + 4, block + 5, 16);
}

// One stored block of the formats that keep their integers; false of the others.
bool PackKept(DType from, const uint8_t* block, DType to, uint8_t* out) {
  if (from == StoredFormat::kQ5_0) {
    PackQ5_0(block, out);
  } else if (from == StoredFormat::kIq4Nl) {
    PackTable(ReadHalf(block), kIq4Table, block + 2, out);
  } else if (from == StoredFormat::kMxfp4) {
    PackMxfp4(block, out);
  } else if (from == StoredFormat::kQ3_K) {
    PackQ3K(block, out);
  } else if (from == StoredFormat::kQ4_K) {
    PackQ4K(block, out);
  } else if (from == StoredFormat::kIq4Xs) {
    PackIq4Xs(block, out);
  } else if (from == StoredFormat::kInt4Zero) {
    PackInt4Zero(block, to, out);
  } else {
    return false;
  }
  return true;
}

bool IsSymmetric(const StoredTensor& stored) {
  const uint8_t* block = static_cast<const uint8_t*>(stored.data);
  const int64_t count = stored.rows * stored.cols / kGroup;
  for (int64_t i = 0; i < count; ++i, block += BlockBytes(StoredFormat::kInt4Zero)) {
    const float d = ReadFloat(block);
    if (block[4] != 8 || HalfToFloat(FloatToHalf(d)) != d) return false;
  }
  return true;
}

}  // namespace

DType RepackedDType(const StoredTensor& stored) {
  const DType dtype = stored.dtype;
  if (dtype == StoredFormat::kQ4_K) return DType::kQ4_1;
  if (dtype == StoredFormat::kInt4Zero) return IsSymmetric(stored) ? DType::kQ4_0 : DType::kQ4_1;
  return BlockElements(dtype) == 1 || dtype <= DType::kQ4_1 ? dtype : DType::kQ8_0;
}

void RepackRow(DType from, const uint8_t* row, int64_t cols, DType to, uint8_t* out) {
  const int64_t elements = BlockElements(from);
  BATON_CHECK(elements % kGroup == 0 && elements <= kSuper, "RepackedDType chose another type");
  float values[kSuper];
  for (int64_t begin = 0; begin < cols; begin += elements) {
    const uint8_t* block = row + begin / elements * BlockBytes(from);
    uint8_t* packed = out + begin / kGroup * BlockBytes(to);
    if (PackKept(from, block, to, packed)) continue;
    Dequantize(from, block, elements, values);
    for (int64_t i = 0; i < elements; i += kGroup) {
      RoundToInt8(values + i, packed + i / kGroup * kInt8Bytes);
    }
  }
}

StoredTensor Repack(const StoredTensor& stored, std::vector<uint8_t>& memory) {
  const DType to = RepackedDType(stored);
  if (to == stored.dtype) return stored;
  const int64_t from_bytes = RowBytes(stored.dtype, stored.cols);
  const int64_t to_bytes = RowBytes(to, stored.cols);
  memory.resize(static_cast<size_t>(stored.rows * to_bytes));
  for (int64_t row = 0; row < stored.rows; ++row) {
    RepackRow(stored.dtype, static_cast<const uint8_t*>(stored.data) + row * from_bytes,
              stored.cols, to, memory.data() + row * to_bytes);
  }
  return {to, stored.rows, stored.cols, memory.data()};
}

}  // namespace baton::device::kernels
