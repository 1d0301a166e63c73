// The devices under test and the data that they get.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "device/device_factory.h"
#include "gtest/gtest.h"

namespace baton::device {

struct ChipUnderTest {
  std::string name, isa;
  int threads;
};

inline std::ostream& operator<<(std::ostream& out, const ChipUnderTest& chip) {
  return out << chip.name << ", " << chip.isa << ", threads " << chip.threads;
}

// p_chip and d_chip at every ISA level of this machine, with one and two threads. The names of the
// tests tell in a log what ran.
inline std::vector<ChipUnderTest> AllChips() {
  std::vector<ChipUnderTest> chips;
  for (const std::string& isa : AvailableIsaLevels()) {
    for (const char* name : {"p_chip", "d_chip"}) {
      chips.push_back({name, isa, 2});
      if (isa != "scalar") chips.push_back({name, isa, 1});  // scalar is slow
    }
  }
  return chips;
}

inline std::unique_ptr<Device> Make(const ChipUnderTest& chip) {
  auto device = CreateDevice({.name = chip.name, .threads = chip.threads, .isa = chip.isa});
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

inline std::unique_ptr<Device> Reference() { return Make({"cpu", "", 1}); }

// Seeded values, roughly normal with the given deviation.
class RandomValues {
 public:
  explicit RandomValues(uint64_t seed) : rng_(seed) {}
  float Next(float deviation = 1.0f) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(rng_.Next() >> 11) * 0x1p-53;
    return static_cast<float>((sum - 6.0) * deviation);
  }
  int Below(int n) { return static_cast<int>(rng_.Next() % static_cast<uint64_t>(n)); }
  std::vector<float> Many(int64_t n, float deviation = 1.0f) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) v = Next(deviation);
    return values;
  }

 private:
  SeededRng rng_;
};

// A stored weight of any dtype with random contents. Quantised blocks are drawn as such: any bytes
// are valid weights.
class RandomWeight {
 public:
  RandomWeight(DType dtype, int64_t rows, int64_t cols, uint64_t seed) {
    RandomValues random(seed);
    stored_ = {dtype, rows, cols, nullptr};
    bytes_.resize(static_cast<size_t>(rows * RowBytes(dtype, cols)));
    const int64_t block = BlockBytes(dtype);
    for (size_t at = 0; at < bytes_.size(); at += block) FillBlock(random, dtype, &bytes_[at]);
    stored_.data = bytes_.data();
  }
  const StoredTensor& stored() const { return stored_; }

 private:
  static void Put16(uint8_t* out, uint16_t value) { std::memcpy(out, &value, 2); }
  static void FillBlock(RandomValues& random, DType dtype, uint8_t* out) {
    const float value = random.Next(0.1f);
    if (dtype == DType::kF32) {
      std::memcpy(out, &value, 4);
    } else if (dtype == DType::kF16) {
      Put16(out, FloatToHalf(value));
    } else if (dtype == DType::kBF16) {
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      Put16(out, static_cast<uint16_t>(bits >> 16));
    } else {
      for (int64_t i = 2; i < BlockBytes(dtype); ++i)
        out[i] = static_cast<uint8_t>(random.Below(256));
      Put16(out, FloatToHalf(random.Next(0.01f)));
      if (dtype == DType::kQ4_1) Put16(out + 2, FloatToHalf(random.Next(0.05f)));
    }
  }
  StoredTensor stored_;
  std::vector<uint8_t> bytes_;
};

inline std::unique_ptr<Weight> Prepared(Device& device, const RandomWeight& weight) {
  auto prepared = device.Prepare(weight.stored());
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  return *std::move(prepared);
}

// Largest difference, and the root mean square of the expected values to hold it against.
inline double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    if (!(difference <= largest)) largest = difference;  // NaN too
  }
  return largest;
}
inline double Rms(const std::vector<float>& values) {
  double sum = 0;
  for (const float v : values) sum += double{v} * v;
  return std::sqrt(sum / static_cast<double>(values.size()));
}
// Root mean square of the differences over that of the expected values.
inline double RelativeError(const std::vector<float>& got, const std::vector<float>& expected) {
  std::vector<float> difference(got.size());
  for (size_t i = 0; i < got.size(); ++i) difference[i] = got[i] - expected[i];
  return Rms(difference) / Rms(expected);
}
inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline std::string ChipName(const testing::TestParamInfo<ChipUnderTest>& info) {
  return info.param.name + "_" + info.param.isa + "_" + std::to_string(info.param.threads);
}

}  // namespace baton::device
