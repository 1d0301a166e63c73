// Nothing that a file claims is believed: every damaged file gives an error or a file whose tensors
// lie inside it.
//
// Each case is parsed from an exactly sized heap block, so that AddressSanitizer sees a read of one
// byte too many.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "models/gguf/gguf_file.h"
#include "tests/fakes/gguf_writer.h"

namespace baton::models {
namespace {

using testing::HasSubstr;

constexpr char kName[] = "damaged.gguf";

// Opens a copy of `bytes` and uses everything in it. Returns the status of opening.
absl::Status OpenAndUse(const std::string& bytes) {
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  const auto file = GgufFile::FromBytes(kName, {copy.get(), bytes.size()});
  if (!file.ok()) {
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(kName));
    EXPECT_LT(file.status().message().size(), 1000u) << "a message repeats the file";
    return file.status();
  }
  uint64_t sum = 0;
  for (const GgufTensor& tensor : (*file)->tensors()) {
    const auto usable = (*file)->GetTensor(tensor.name);
    if (!usable.ok()) continue;
    EXPECT_GE(tensor.data, copy.get());
    EXPECT_LE(tensor.data + tensor.bytes, copy.get() + bytes.size());
    for (uint64_t i = 0; i < tensor.bytes; ++i) sum += tensor.data[i];
  }
  for (const char* key : {"general.alignment", "name", "tokens", "types", "epsilon", "flag"}) {
    (void)(*file)->GetString(key).ok();
    (void)(*file)->GetUint(key).ok();
    (void)(*file)->GetFloats(key).ok();
    (void)(*file)->GetInts(key).ok();
    const auto strings = (*file)->GetStrings(key);
    if (!strings.ok()) continue;
    for (const absl::string_view text : *strings) {
      for (const char c : text) sum += static_cast<uint8_t>(c);
    }
  }
  volatile uint64_t sink = sum;
  (void)sink;
  return absl::OkStatus();
}

void AddMetadata(fakes::GgufWriter& writer) {
  writer.AddUint("general.alignment", 32);
  writer.AddString("name", "Baton");
  writer.AddStrings("tokens", {"a", "", "ccc"});
  writer.AddInts("types", {1, -2, 3});
  writer.AddFloat("epsilon", 1e-5f);
  writer.AddBool("flag", true);
}

std::string Sample() {
  fakes::GgufWriter writer;
  AddMetadata(writer);
  writer.AddTensor("first", {3}, GgmlType::kF32, fakes::Encode(GgmlType::kF32, {1, 2, 3}));
  writer.AddTensor("second", {32, 2}, GgmlType::kQ4_1,
                   fakes::Encode(GgmlType::kQ4_1, std::vector<float>(64, 1)));
  return writer.Bytes();
}

size_t HeaderBytes(const std::string& bytes) {
  const auto file =
      GgufFile::FromBytes(kName, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  EXPECT_TRUE(file.ok()) << file.status();
  return (*file)->header_bytes();
}

template <typename T>
std::string With(std::string bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
  return bytes;
}

// A file with one tensor of these dims whose data is `bytes` long.
std::string OneTensor(const std::vector<uint64_t>& dims, size_t bytes,
                      GgmlType type = GgmlType::kF32) {
  fakes::GgufWriter writer;
  writer.AddTensor("t", dims, type, std::string(bytes, '\0'));
  return writer.Bytes();
}

std::string ErrorOf(const std::string& bytes) {
  const absl::Status status = OpenAndUse(bytes);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(GgufCorruption, EveryTruncationIsAnErrorThatNamesAByte) {
  const std::string bytes = Sample();
  ASSERT_TRUE(OpenAndUse(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const absl::Status status = OpenAndUse(bytes.substr(0, size));
    ASSERT_FALSE(status.ok()) << "the first " << size << " bytes were accepted";
    EXPECT_THAT(std::string(status.message()), HasSubstr(" at byte "));
  }
}

TEST(GgufCorruption, EveryFieldOfTheHeaderMayHoldAnyNumber) {
  const std::string bytes = Sample();
  const size_t header = HeaderBytes(bytes);
  // Every byte position of the header, so every length, count, type and offset field is among them.
  for (size_t offset = 4; offset + 8 <= header; ++offset) {
    uint64_t value;
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
    for (const uint64_t other :
         {uint64_t{0}, std::numeric_limits<uint64_t>::max(), value + 1, value - 1,
          uint64_t{1} << 63, (uint64_t{1} << 63) - 1, uint64_t{1} << 32, uint64_t{bytes.size()}}) {
      (void)OpenAndUse(With(bytes, offset, other)).ok();
    }
    const uint32_t low = static_cast<uint32_t>(value);
    for (const uint32_t other : {uint32_t{0}, UINT32_MAX, low + 1, low - 1, uint32_t{1} << 31}) {
      (void)OpenAndUse(With(bytes, offset, other)).ok();
    }
  }
}

TEST(GgufCorruption, RandomBitFlipsNeverReadOutside) {
  const std::string bytes = Sample();
  const size_t header = HeaderBytes(bytes);
  int refused = 0;
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    SeededRng rng(seed);
    std::string damaged = bytes;
    const int flips = 1 + static_cast<int>(rng.Next() % 4);
    for (int i = 0; i < flips; ++i) {
      const uint64_t word = rng.Next();
      damaged[word % header] ^= static_cast<char>(1 << (word >> 32) % 8);
    }
    if (rng.Next() % 4 == 0) damaged.resize(rng.Next() % damaged.size());
    if (!OpenAndUse(damaged).ok()) ++refused;
  }
  EXPECT_GT(refused, 10000);
}

TEST(GgufCorruption, CountsBeyondTheFileAreRefusedBeforeAnythingIsAllocated) {
  const std::string bytes = Sample();
  EXPECT_THAT(ErrorOf(With(bytes, 8, uint64_t{1} << 63)), HasSubstr("tensor count at byte 8"));
  EXPECT_THAT(ErrorOf(With(bytes, 16, uint64_t{1} << 63)), HasSubstr("metadata count at byte 16"));
  EXPECT_THAT(ErrorOf(With(bytes, 16, uint64_t{100000})), HasSubstr("metadata count at byte 16"));
}

TEST(GgufCorruption, DimensionsWhoseProductOverflowsAreRefused) {
  const uint64_t big = uint64_t{1} << 32;
  EXPECT_THAT(ErrorOf(OneTensor({big, big, big}, 16)), HasSubstr("more than 2^64 elements"));
  EXPECT_THAT(ErrorOf(OneTensor({big, big / 4}, 16)), HasSubstr("more than 2^64 bytes"));
  EXPECT_THAT(ErrorOf(OneTensor({0}, 16)), HasSubstr("dimension 0 of tensor 't'"));
  EXPECT_THAT(ErrorOf(OneTensor({uint64_t{1} << 63}, 16)), HasSubstr("dimension 0 of tensor 't'"));
  EXPECT_THAT(ErrorOf(OneTensor({1, 1, 1, 1, 1}, 16)), HasSubstr("rank of tensor 't'"));
  EXPECT_THAT(ErrorOf(OneTensor({}, 16)), HasSubstr("rank of tensor 't'"));
  EXPECT_THAT(ErrorOf(OneTensor({33}, 40, GgmlType::kQ4_1)), HasSubstr("multiple of 32"));
}

TEST(GgufCorruption, BlocksThatAreNotWholeOrNotThereAreRefusedForEveryType) {
  int types = 0;
  for (uint32_t number = 0; number < 64; ++number) {
    const GgmlType type = static_cast<GgmlType>(number);
    const GgmlTypeLayout layout = LayoutOf(type);
    if (layout.block_elements <= 1) continue;
    ++types;
    const uint64_t elements = layout.block_elements;
    EXPECT_TRUE(OpenAndUse(OneTensor({elements, 3}, 3 * layout.block_bytes, type)).ok());
    EXPECT_THAT(ErrorOf(OneTensor({elements, 3}, 3 * layout.block_bytes - 1, type)),
                HasSubstr("data of tensor 't'"));
    for (const uint64_t dim : {uint64_t{1}, elements / 2, elements + 1, 2 * elements - 1}) {
      EXPECT_THAT(ErrorOf(OneTensor({dim}, 4 * layout.block_bytes, type)),
                  HasSubstr(absl::StrCat("multiple of ", elements)));
    }
    EXPECT_THAT(ErrorOf(OneTensor({elements, uint64_t{1} << 60}, 64, type)),
                HasSubstr("tensor 't'"));
  }
  EXPECT_EQ(types, 13);
}

TEST(GgufCorruption, TensorsBeyondTheEndAreRefused) {
  EXPECT_THAT(ErrorOf(OneTensor({5}, 16)), HasSubstr("data of tensor 't'"));
  EXPECT_TRUE(OpenAndUse(OneTensor({4}, 16)).ok());
  const std::string bytes = OneTensor({4}, 16);
  const size_t offset_field = HeaderBytes(bytes) - 8;
  EXPECT_THAT(ErrorOf(With(bytes, offset_field, uint64_t{32})), HasSubstr("offset of tensor 't'"));
  EXPECT_THAT(ErrorOf(With(bytes, offset_field, uint64_t{1})), HasSubstr("no multiple"));
  const uint64_t last = std::numeric_limits<uint64_t>::max() - 31;  // plus 16 bytes overflows
  EXPECT_THAT(ErrorOf(With(bytes, offset_field, last)), HasSubstr("offset of tensor 't'"));
}

TEST(GgufCorruption, OnlySaneAlignmentsAreAccepted) {
  for (const uint32_t alignment : {0u, 3u, 4u, 33u, 0xFFFFFFFFu}) {
    fakes::GgufWriter writer;
    writer.AddUint("general.alignment", alignment);
    writer.AddTensor("t", {4}, GgmlType::kF32, std::string(16, '\0'));
    EXPECT_THAT(ErrorOf(writer.Bytes()), HasSubstr("general.alignment at byte 53: is "))
        << alignment;
  }
  // The same as a 64-bit number.
  fakes::GgufWriter writer;
  writer.AddUint("general.alignment", 0);
  std::string bytes = writer.Bytes();
  const size_t type_field = 24 + 8 + std::strlen("general.alignment");
  bytes = With(bytes, type_field, uint32_t{10});
  bytes = With(bytes, type_field + 4, uint64_t{1} << 63);
  EXPECT_THAT(ErrorOf(bytes), HasSubstr("is 9223372036854775808, allowed"));
}

TEST(GgufCorruption, NamesThatOccurTwiceAreRefused) {
  fakes::GgufWriter keys;
  keys.AddUint("same", 1);
  keys.AddUint("same", 2);
  EXPECT_THAT(ErrorOf(keys.Bytes()), HasSubstr("key 'same' occurs twice"));
  fakes::GgufWriter tensors;
  tensors.AddTensor("same", {4}, GgmlType::kF32, std::string(16, '\0'));
  tensors.AddTensor("same", {4}, GgmlType::kF32, std::string(16, '\0'));
  EXPECT_THAT(ErrorOf(tensors.Bytes()), HasSubstr("'same' occurs twice"));
}

TEST(GgufCorruption, ArraysOfArraysAndOddBoolsAreRefused) {
  fakes::GgufWriter ints;
  ints.AddInts("list", {7});
  EXPECT_THAT(ErrorOf(With(ints.Bytes(), 24 + 8 + 4 + 4, uint32_t{9})),
              HasSubstr("arrays of arrays"));
  EXPECT_THAT(ErrorOf(With(ints.Bytes(), 24 + 8 + 4, uint32_t{13})),
              HasSubstr("unknown value type 13"));
  fakes::GgufWriter flag;
  flag.AddBool("flag", true);
  EXPECT_THAT(ErrorOf(With(flag.Bytes(), 24 + 8 + 4 + 4, uint8_t{2})), HasSubstr("0 or 1, not 2"));
}

}  // namespace
}  // namespace baton::models
