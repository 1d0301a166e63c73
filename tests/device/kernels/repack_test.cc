// What packing makes of the formats that no kernel reads: the same values where repack.h says so,
// values as near as it says otherwise.
#include "device/kernels/repack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "device/cpu_reference/dequantize.h"
#include "device/kernels/packed_weight.h"
#include "tests/device/format_vectors.h"
#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

std::vector<float> PackedValues(const StoredTensor& stored) {
  ThreadTeam team(2);
  HostArena arena;
  const auto packed = PackedWeight::Pack(stored, team, arena);
  EXPECT_TRUE(packed.ok()) << packed.status();
  std::vector<float> values(static_cast<size_t>(stored.rows * stored.cols));
  for (int64_t r = 0; r < stored.rows; ++r) {
    (*packed)->DequantizeRow(r, values.data() + r * stored.cols);
  }
  return values;
}

double RelativeRms(const std::vector<float>& got, const std::vector<float>& expected, size_t begin,
                   size_t end) {
  double error = 0, sum = 0;
  for (size_t i = begin; i < end; ++i) {
    error += std::pow(double{got[i]} - expected[i], 2);
    sum += std::pow(double{expected[i]}, 2);
  }
  return sum > 0 ? std::sqrt(error / sum) : std::sqrt(error);
}

TEST(Repack, ValuesAreKeptOrRoundedAsDocumented) {
  // Of 32 values rounded to steps of their largest / 127; of numbers rounded to fp16.
  constexpr double kInt8 = 0.01, kHalf = 5e-4;
  const std::map<DType, double> bounds = {{DType::kQ4_0, 0},
                                          {DType::kQ4_1, 0},
                                          {DType::kQ8_0, 0},
                                          {StoredFormat::kQ5_0, 0},
                                          {StoredFormat::kIq4Nl, 0},
                                          {StoredFormat::kQ3_K, 0},
                                          {StoredFormat::kMxfp4, 0},
                                          {StoredFormat::kQ4_K, kHalf},
                                          {StoredFormat::kIq4Xs, kHalf},
                                          {StoredFormat::kQ5_1, kInt8},
                                          {StoredFormat::kQ2_K, kInt8},
                                          {StoredFormat::kQ5_K, kInt8},
                                          {StoredFormat::kQ6_K, kInt8}};
  for (const FormatVector& vector : ReadFormatVectors()) {
    const std::string name(DTypeName(vector.dtype));
    const StoredTensor stored{vector.dtype, 4, 256, vector.blocks.data()};
    const std::vector<float> packed = PackedValues(stored);
    const double bound = bounds.at(vector.dtype);
    if (bound > 0) {
      // The first 256 values have a subnormal scale, which fp16 multiples of it round more
      // coarsely.
      EXPECT_LE(RelativeRms(packed, vector.values, 256, 1024), bound) << name;
      EXPECT_GT(RelativeRms(packed, vector.values, 256, 1024), 0) << name << " needs no bound";
      EXPECT_LE(RelativeRms(packed, vector.values, 0, 256), 0.1) << name;
      continue;
    }
    for (size_t i = 0; i < packed.size(); ++i) {
      // Scales of MXFP4 beyond those of fp16: 2^-128 to 2^-25, and 2^122.
      if (vector.dtype == StoredFormat::kMxfp4 && i < 128) continue;
      ASSERT_EQ(packed[i], vector.values[i]) << name << "[" << i << "]";
    }
  }
}

TEST(Repack, AScaleBeyondThoseOfHalvesIsRoundedToNothingOrNaN) {
  for (const FormatVector& vector : ReadFormatVectors()) {
    if (vector.dtype != StoredFormat::kMxfp4) continue;
    const std::vector<float> packed = PackedValues({vector.dtype, 32, 32, vector.blocks.data()});
    for (int i = 0; i < 96; ++i) EXPECT_EQ(packed[i], 0.0f) << "2^-128 to 2^-126";
    for (int i = 96; i < 128; ++i) EXPECT_TRUE(std::isnan(packed[i])) << "2^122";
  }
}

TEST(Repack, RoundingToStepsReachesTheLargestAndErrsByHalfAStepAtMost) {
  SeededRng rng(3);
  for (const float size : {1e-7f, 4e-6f, 3e-4f, 1.0f, 8e3f}) {
    std::vector<uint8_t> block(24, 0);
    for (int i = 4; i < 24; ++i) block[i] = static_cast<uint8_t>(rng.Next());
    const uint16_t halves[2] = {FloatToHalf(size), FloatToHalf(size * -7)};
    std::memcpy(block.data(), halves, 4);
    const StoredTensor stored{StoredFormat::kQ5_1, 1, 32, block.data()};
    const std::vector<float> exact = Dequantize(stored), packed = PackedValues(stored);
    float most = 0;
    for (const float value : exact) most = std::max(most, std::fabs(value));
    // The scale is the next fp16 number above most / 127.
    const float step = std::max(most / 127 * 1.001f, most / 127 + 0x1p-24f);
    for (int i = 0; i < 32; ++i) EXPECT_NEAR(packed[i], exact[i], step / 2 * 1.0001f) << size;
  }
}

TEST(Repack, FourBitsWithZeroPointsAreKeptWhereAllAreEight) {
  std::vector<uint8_t> blocks(4 * 21);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<uint8_t>(i * 37);
  const auto set = [&](int block, float d, uint8_t zero) {
    std::memcpy(blocks.data() + block * 21, &d, sizeof(d));
    blocks[block * 21 + 4] = zero;
  };
  for (int b = 0; b < 4; ++b)
    set(b, HalfToFloat(FloatToHalf(0.01f * static_cast<float>(b + 1))), 8);
  const StoredTensor stored{StoredFormat::kInt4Zero, 2, 64, blocks.data()};
  EXPECT_EQ(RepackedDType(stored), DType::kQ4_0);
  EXPECT_EQ(PackedValues(stored), Dequantize(stored));
  set(2, 0.03f, 8);  // no half
  EXPECT_EQ(RepackedDType(stored), DType::kQ4_1);
  EXPECT_LE(RelativeRms(PackedValues(stored), Dequantize(stored), 0, 128), 5e-4);
  set(2, HalfToFloat(FloatToHalf(0.03f)), 3);
  EXPECT_EQ(RepackedDType(stored), DType::kQ4_1);
  EXPECT_LE(RelativeRms(PackedValues(stored), Dequantize(stored), 0, 128), 5e-4);
}

TEST(Repack, BlocksOfAnyBytesDoNoHarm) {
  SeededRng rng(9);
  for (const FormatVector& vector : ReadFormatVectors()) {
    std::vector<uint8_t> bytes(vector.blocks.size());
    for (int round = 0; round < 20; ++round) {
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng.Next());
      if (round == 0) std::fill(bytes.begin(), bytes.end(), 0xff);
      if (round == 1) std::fill(bytes.begin(), bytes.end(), 0x7c);  // infinite scales
      const StoredTensor stored{vector.dtype, 4, 256, bytes.data()};
      EXPECT_EQ(PackedValues(stored).size(), 1024u);
    }
  }
}

}  // namespace
}  // namespace baton::device::kernels
