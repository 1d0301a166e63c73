#include "models/mxfp4.h"

#include <cmath>
#include <limits>

namespace baton::models {
namespace {

constexpr float kE2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                             -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
constexpr int kScaleBias = 127;
constexpr uint8_t kScaleNan = 255;

}  // namespace

void DequantizeMxfp4(const uint8_t* blocks, const uint8_t* scales, int64_t count, float* out) {
  for (int64_t b = 0; b < count; ++b) {
    const float scale = scales[b] == kScaleNan ? std::numeric_limits<float>::quiet_NaN()
                                               : std::ldexp(1.0f, scales[b] - kScaleBias);
    const uint8_t* bytes = blocks + b * kMxfp4BlockBytes;
    float* values = out + b * kMxfp4BlockElements;
    for (int64_t k = 0; k < kMxfp4BlockBytes; ++k) {
      values[2 * k] = kE2m1[bytes[k] & 0xf] * scale;
      values[2 * k + 1] = kE2m1[bytes[k] >> 4] * scale;
    }
  }
}

}  // namespace baton::models
