// Whole linear ops on p_chip and d_chip: no bit depends on the batch, the team, the chip or the
// other weights of the call.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "device/device_factory.h"
#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

constexpr int64_t kMaxRows = 301;  // enough for every way of sharing work among three members
constexpr int64_t kInCols = 96;

struct Arrangement {
  std::string name;
  int threads;
};

std::vector<Arrangement> Arrangements() {
  return {{"d_chip", 1}, {"d_chip", 2}, {"d_chip", 3}, {"p_chip", 1}, {"p_chip", 3}};
}

std::unique_ptr<Weight> MakeWeight(Device& device, uint64_t seed, DType dtype, int64_t out_cols) {
  const std::vector<uint8_t> bytes = RandomStored(seed, dtype, out_cols, kInCols);
  return std::move(device.Prepare({dtype, out_cols, kInCols, bytes.data()}).value());
}

// The input rows [first, first + count), normed or not.
struct Rows {
  std::vector<float> all = RandomFloats(11, kMaxRows* kInCols);
  std::vector<float> gain = RandomFloats(12, kInCols);
  int64_t first, count;

  Rows(int64_t f, int64_t n) : first(f), count(n) {}
  ConstMatrixView in() const { return {all.data() + first * kInCols, count, kInCols, kInCols}; }
  Norm norm(bool wanted) const { return {wanted ? gain.data() : nullptr, 1e-5f}; }
};

// Three parts of different types and widths, one with a bias, one accumulating; side by side.
std::vector<float> LinearParts(const Arrangement& arrangement, int64_t first, int64_t count,
                               bool norm) {
  const auto device =
      CreateDevice({.name = arrangement.name, .threads = arrangement.threads}).value();
  const Rows rows(first, count);
  const std::vector<float> bias = RandomFloats(13, 40);
  const auto a = MakeWeight(*device, 1, DType::kQ4_1, 40);
  const auto b = MakeWeight(*device, 2, DType::kF16, 17);
  const auto c = MakeWeight(*device, 3, DType::kQ8_0, 100);
  constexpr int64_t kStride = 40 + 17 + 100 + 3;
  std::vector<float> out(count * kStride, 0.25f);
  const LinearArgs::Part parts[] = {
      {a.get(), bias.data(), {out.data(), count, 40, kStride}, false},
      {b.get(), nullptr, {out.data() + 40, count, 17, kStride}, true},
      {c.get(), nullptr, {out.data() + 57, count, 100, kStride}, false}};
  const absl::Status status =
      device->Linear({.in = rows.in(), .norm = rows.norm(norm), .parts = parts});
  EXPECT_TRUE(status.ok()) << status;
  for (int64_t r = 0; r < count; ++r) {  // nothing is written between the rows
    for (int64_t k = 157; k < kStride; ++k) EXPECT_EQ(out[r * kStride + k], 0.25f);
  }
  return out;
}

std::vector<float> Gated(const Arrangement& arrangement, int64_t first, int64_t count, DType up) {
  const auto device =
      CreateDevice({.name = arrangement.name, .threads = arrangement.threads}).value();
  const Rows rows(first, count);
  const auto gate = MakeWeight(*device, 4, DType::kQ4_1, 75);
  const auto other = MakeWeight(*device, 5, up, 75);
  std::vector<float> out(count * 75);
  const absl::Status status = device->GatedLinear({.in = rows.in(),
                                                   .norm = rows.norm(true),
                                                   .gate = gate.get(),
                                                   .up = other.get(),
                                                   .out = {out.data(), count, 75, 75}});
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

// Runs f over slices of the rows and compares with the whole.
template <typename F>
void ExpectSameBits(const F& f) {
  const std::vector<float> expected = f(Arrangement{"d_chip", 1}, 0, kMaxRows);
  const int64_t cols = static_cast<int64_t>(expected.size()) / kMaxRows;
  for (const Arrangement& arrangement : Arrangements()) {
    for (const int64_t count : {1, 3, 4, 7, 40, 200, 301}) {
      const int64_t first = kMaxRows - count;
      const std::vector<float> out = f(arrangement, first, count);
      ASSERT_TRUE(SameBits(out, {expected.begin() + first * cols, expected.end()}))
          << arrangement.name << ", " << arrangement.threads << " threads, " << count << " rows";
    }
  }
}

TEST(RunLinear, BitsDependOnNothingButTheRow) {
  for (const bool norm : {false, true}) {
    ExpectSameBits([&](const Arrangement& arrangement, int64_t first, int64_t count) {
      return LinearParts(arrangement, first, count, norm);
    });
  }
}

TEST(RunGatedLinear, BitsDependOnNothingButTheRowAlsoForMixedTypes) {
  for (const DType up : {DType::kQ4_1, DType::kQ8_0, DType::kF32}) {
    ExpectSameBits([&](const Arrangement& arrangement, int64_t first, int64_t count) {
      return Gated(arrangement, first, count, up);
    });
  }
}

TEST(RunLinear, APartHasTheBitsThatItHasAlone) {
  const auto device = CreateDevice({.name = "d_chip", .threads = 2}).value();
  const Rows rows(0, 9);
  const auto a = MakeWeight(*device, 1, DType::kQ4_0, 40);
  const auto b = MakeWeight(*device, 2, DType::kQ4_1, 33);
  std::vector<float> together(9 * 73), alone(9 * 33), part(9 * 33);
  const LinearArgs::Part parts[] = {{a.get(), nullptr, {together.data(), 9, 40, 73}, false},
                                    {b.get(), nullptr, {together.data() + 40, 9, 33, 73}, false}};
  const LinearArgs::Part one = {b.get(), nullptr, {alone.data(), 9, 33, 33}, false};
  ASSERT_TRUE(device->Linear({.in = rows.in(), .parts = parts}).ok());
  ASSERT_TRUE(device->Linear({.in = rows.in(), .parts = {&one, 1}}).ok());
  for (int64_t r = 0; r < 9; ++r) {
    std::copy_n(together.data() + r * 73 + 40, 33, part.data() + r * 33);
  }
  EXPECT_TRUE(SameBits(part, alone));
}

}  // namespace
}  // namespace baton::device::kernels
