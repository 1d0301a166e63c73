// A header is not believed; what is written can be read back.
#include "models/safetensors/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "base/rng.h"
#include "models/safetensors/safetensors_writer.h"

namespace baton::models {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string FileOf(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  return file + header + std::string(data_bytes, 'x');
}

// Parses from an exactly sized heap block, so that AddressSanitizer sees a read of one byte too
// many.
absl::Status Open(const std::string& bytes) {
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  const auto file = SafetensorsFile::FromBytes("x.safetensors", {copy.get(), bytes.size()});
  if (!file.ok()) {
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("x.safetensors"));
    return file.status();
  }
  for (const auto& [name, tensor] : (*file)->tensors()) {
    EXPECT_GE(tensor.data, copy.get());
    EXPECT_LE(tensor.data + tensor.bytes, copy.get() + bytes.size());
  }
  return absl::OkStatus();
}

std::string ErrorOf(const std::string& header, size_t data_bytes) {
  const absl::Status status = Open(FileOf(header, data_bytes));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << header;
  return std::string(status.message());
}

constexpr char kTwo[] =
    R"({"__metadata__":{"a":"b"},"one":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("two":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})";

TEST(SafetensorsFile, TensorsLieWhereTheHeaderSays) {
  const std::string bytes = FileOf(kTwo, 32);
  const auto file = SafetensorsFile::FromBytes(
      "x", {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->tensors().size(), 2u);
  const SafetensorsTensor& two = **(*file)->GetTensor("two");
  EXPECT_EQ(two.dtype, "BF16");
  EXPECT_THAT(two.shape, ElementsAre(4));
  EXPECT_EQ(two.data, (*file)->bytes().data() + (*file)->header_bytes() + 24);
  EXPECT_EQ((*file)->GetTensor("three").status().code(), absl::StatusCode::kNotFound);
}

TEST(SafetensorsFile, RangesOutsideTheFileOrOverEachOtherAreRefused) {
  EXPECT_THAT(ErrorOf(kTwo, 31), HasSubstr("do not lie in the 31 bytes"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                      R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                      12),
              HasSubstr("'a' and 'b' overlap"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
              HasSubstr("do not lie in"));
}

TEST(SafetensorsFile, ShapesThatDoNotFitTheirRangeAreRefused) {
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
              HasSubstr("takes 12 bytes, data_offsets give 8"));
  EXPECT_THAT(
      ErrorOf(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8),
      HasSubstr("more than 2^64 bytes"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}})", 8),
              HasSubstr("shape has a dimension"));
  EXPECT_THAT(
      ErrorOf(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})", 8),
      HasSubstr("shape is no list"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,8]}})", 8),
              HasSubstr("shape has a dimension"));
}

TEST(SafetensorsFile, HeadersThatAreNoneAreRefused) {
  EXPECT_THAT(ErrorOf("[1]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf("{\"a\":", 0), HasSubstr("header at byte 8"));
  EXPECT_THAT(ErrorOf(R"({"a":7})", 0), HasSubstr("'a': is not a JSON object"));
  EXPECT_THAT(ErrorOf(R"({"a":{"shape":[],"data_offsets":[0,0]}})", 0), HasSubstr("no dtype"));
  EXPECT_THAT(ErrorOf(R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                      R"("a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})",
                      1),
              HasSubstr("'a' occurs twice"));
  EXPECT_THAT(ErrorOf(std::string(100000, '['), 0), HasSubstr("header at byte 8"));
  std::string huge = FileOf("{}", 0);
  huge[5] = 1;
  EXPECT_THAT(std::string(Open(huge).message()), HasSubstr("header length at byte 0"));
  EXPECT_FALSE(Open("short").ok());
}

TEST(SafetensorsFile, TruncationsAndRandomBitFlipsNeverReadOutside) {
  const std::string bytes = FileOf(kTwo, 32);
  ASSERT_TRUE(Open(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Open(bytes.substr(0, size)).ok()) << size;
  }
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    SeededRng rng(seed);
    std::string damaged = bytes;
    for (int i = 0; i < 2; ++i) {
      const uint64_t word = rng.Next();
      damaged[word % (bytes.size() - 32)] ^= static_cast<char>(1 << (word >> 32) % 8);
    }
    (void)Open(damaged).ok();
  }
}

TEST(SafetensorsWriter, WhatIsWrittenIsReadBack) {
  const std::string path = testing::TempDir() + "/safetensors_writer_test.safetensors";
  const float logits[] = {1, 2, 3, 4, 5, 6};
  const int32_t ids[] = {7, 8};
  auto writer = SafetensorsWriter::Create(path, {{"logits", "F32", {2, 3}}, {"ids", "I32", {2}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Append(logits, 12).ok());
  ASSERT_TRUE(writer->Append(logits + 3, 12).ok());
  EXPECT_FALSE(std::ifstream(path).good()) << "an unfinished file has its final name";
  ASSERT_TRUE(writer->Append(ids, sizeof(ids)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(0, std::memcmp((*(*file)->GetTensor("logits"))->data, logits, sizeof(logits)));
  EXPECT_EQ(0, std::memcmp((*(*file)->GetTensor("ids"))->data, ids, sizeof(ids)));
  EXPECT_THAT((*(*file)->GetTensor("logits"))->shape, ElementsAre(2, 3));
  std::remove(path.c_str());
}

TEST(SafetensorsWriter, AnIncompleteFileIsNotFinished) {
  const std::string path = testing::TempDir() + "/safetensors_writer_test_incomplete.safetensors";
  {
    auto writer = SafetensorsWriter::Create(path, {{"ids", "I32", {2}}});
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_FALSE(std::ifstream(path).good());
  EXPECT_FALSE(std::ifstream(path + ".partial").good());
  EXPECT_FALSE(SafetensorsWriter::Create("/nonexistent/x", {}).ok());
}

}  // namespace
}  // namespace baton::models
