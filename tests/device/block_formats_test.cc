// Stored weights mean what ggml's own package says, bit for bit.
#include "device/block_formats.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/device/format_vectors.h"

namespace baton::device {
namespace {

TEST(Dequantize, EveryFormatOfGgufHasTheValuesOfItsDefinition) {
  const std::vector<FormatVector> vectors = ReadFormatVectors();
  ASSERT_EQ(vectors.size(), 13u);
  for (const FormatVector& vector : vectors) {
    const std::string name(DTypeName(vector.dtype));
    ASSERT_EQ(vector.values.size(), 1024u) << name;
    ASSERT_EQ(vector.blocks.size(), static_cast<size_t>(RowBytes(vector.dtype, 1024))) << name;
    std::vector<float> values(1024);
    Dequantize(vector.dtype, vector.blocks.data(), 1024, values.data());
    for (int i = 0; i < 1024; ++i) {
      ASSERT_EQ(std::memcmp(&values[i], &vector.values[i], sizeof(float)), 0)
          << name << "[" << i << "]: " << values[i] << ", needed " << vector.values[i];
    }
  }
}

TEST(Dequantize, FourBitsWithAZeroPointAreTheDifferenceTimesTheScale) {
  std::vector<uint8_t> block(21, 0);
  const float d = 0.3f;
  std::memcpy(block.data(), &d, sizeof(d));
  block[4] = 16;  // GPTQ stores zero points less one, so 16 occurs
  block[5] = 0xf1;
  std::vector<float> values(32);
  Dequantize(StoredFormat::kInt4Zero, block.data(), 32, values.data());
  EXPECT_EQ(values[0], 0.3f * -15.0f);
  EXPECT_EQ(values[16], 0.3f * -1.0f);
  EXPECT_EQ(values[1], 0.3f * -16.0f);
}

}  // namespace
}  // namespace baton::device
