#include "device/dtype.h"

#include <cstring>
#include <iterator>

#include "base/check.h"
#include "device/block_formats.h"

namespace baton::device {

namespace {

struct Layout {
  int64_t elements, bytes;  // of a block
  const char* name;
};

// By the number of the dtype.
constexpr Layout kLayouts[] = {{1, 4, "f32"},        {1, 2, "f16"},      {1, 2, "bf16"},
                               {1, 4, "i32"},        {32, 34, "q8_0"},   {32, 18, "q4_0"},
                               {32, 20, "q4_1"},     {32, 22, "q5_0"},   {32, 24, "q5_1"},
                               {256, 84, "q2_k"},    {256, 110, "q3_k"}, {256, 144, "q4_k"},
                               {256, 176, "q5_k"},   {256, 210, "q6_k"}, {32, 18, "iq4_nl"},
                               {256, 136, "iq4_xs"}, {32, 17, "mxfp4"},  {32, 21, "int4_zero"}};
static_assert(std::size(kLayouts) == static_cast<size_t>(StoredFormat::kInt4Zero) + 1);

const Layout& LayoutOf(DType dtype) {
  BATON_CHECK(static_cast<size_t>(dtype) < std::size(kLayouts), "every DType has a layout");
  return kLayouts[static_cast<size_t>(dtype)];
}

}  // namespace

int64_t BlockElements(DType dtype) { return LayoutOf(dtype).elements; }
int64_t BlockBytes(DType dtype) { return LayoutOf(dtype).bytes; }

int64_t RowBytes(DType dtype, int64_t elements) {
  return elements / BlockElements(dtype) * BlockBytes(dtype);
}

absl::string_view DTypeName(DType dtype) { return LayoutOf(dtype).name; }

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  uint32_t bits;
  if (exponent == 0x1f) {  // infinity or NaN
    bits = sign | 0x7f800000 | (mantissa << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {  // zero or subnormal: mantissa * 2^-24, exact in float
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    uint32_t magnitude;
    std::memcpy(&magnitude, &value, sizeof(magnitude));
    bits = sign | magnitude;
  }
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

uint16_t FloatToHalf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {  // NaN: keep the top of the payload, quiet
    return sign | 0x7e00 | static_cast<uint16_t>((magnitude >> 13) & 0x3ff);
  }
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and above round to infinity
  if (magnitude < 0x38800000) {                       // below 2^-14: subnormal
    // Adding 0.5 puts the float's last place at 2^-24, so the addition itself rounds to nearest
    // even.
    float absolute;
    std::memcpy(&absolute, &magnitude, sizeof(absolute));
    absolute += 0.5f;
    uint32_t rounded;
    std::memcpy(&rounded, &absolute, sizeof(rounded));
    return sign | static_cast<uint16_t>(rounded - 0x3f000000);
  }
  const uint32_t odd = (magnitude >> 13) & 1;
  const uint32_t rounded = magnitude - (112u << 23) + 0xfff + odd;
  return sign | static_cast<uint16_t>(rounded >> 13);
}

}  // namespace baton::device
