// The devices under test and the data that they get.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "device/conformance/random_values.h"
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

// A stored weight of any dtype with random contents. Quantised blocks are drawn as such: any bytes
// are valid weights.
class RandomWeight {
 public:
  RandomWeight(DType dtype, int64_t rows, int64_t cols, uint64_t seed)
      : bytes_(RandomValues(seed).Stored(dtype, rows, cols)),
        stored_{dtype, rows, cols, bytes_.data()} {}
  const StoredTensor& stored() const { return stored_; }

 private:
  std::vector<uint8_t> bytes_;
  StoredTensor stored_;
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
