// What a well-formed file holds is found, with the type that was asked for or a message that names
// both.
#include "models/gguf/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "tests/fakes/gguf_writer.h"

namespace baton::models {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// A file with one of everything.
std::string Sample() {
  fakes::GgufWriter writer;
  writer.AddString("name", "Baton");
  writer.AddUint("count", 4000000000u);
  writer.AddFloat("epsilon", 0.5f);
  writer.AddBool("flag", true);
  writer.AddStrings("tokens", {"a", "", "ccc"});
  writer.AddInts("types", {1, -2, 3});
  writer.AddTensor("one", {3}, GgmlType::kF32, fakes::Encode(GgmlType::kF32, {1, 2, 3}));
  writer.AddTensor("two", {32, 2}, GgmlType::kQ8_0,
                   fakes::Encode(GgmlType::kQ8_0, std::vector<float>(64, 127)));
  writer.AddTensor("odd", {256}, static_cast<GgmlType>(21), std::string(110, 'x'));  // IQ3_S
  return writer.Bytes();
}

TEST(GgufFile, MetadataIsReadWithTheTypeAskedFor) {
  const std::string bytes = Sample();
  const auto file = GgufFile::FromBytes("sample", BytesOf(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->GetString("name"), "Baton");
  EXPECT_EQ(*(*file)->GetUint("count"), 4000000000u);
  EXPECT_EQ(*(*file)->GetInt("count"), 4000000000);
  EXPECT_EQ(*(*file)->GetFloat("epsilon"), 0.5);
  EXPECT_TRUE(*(*file)->GetBool("flag"));
  EXPECT_THAT(*(*file)->GetStrings("tokens"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(*(*file)->GetInts("types"), ElementsAre(1, -2, 3));
  EXPECT_TRUE((*file)->Has("flag"));
  EXPECT_FALSE((*file)->Has("flags"));
}

TEST(GgufFile, AskingForAnAbsentKeyOrAnotherTypeNamesFileKeyAndTypes) {
  const std::string bytes = Sample();
  const auto file = *GgufFile::FromBytes("sample", BytesOf(bytes));
  const absl::Status absent = file->GetUint("nothing").status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(absent), "sample: has no metadata key 'nothing'");
  const absl::Status mismatch = file->GetUint("tokens").status();
  EXPECT_EQ(mismatch.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(mismatch),
            "sample: metadata key 'tokens' is of type array of 3 string, needed unsigned integer");
  EXPECT_FALSE(file->GetString("count").ok());
  EXPECT_FALSE(file->GetInt("types").ok());
  EXPECT_FALSE(file->GetFloat("count").ok());
  EXPECT_FALSE(file->GetBool("count").ok());
  EXPECT_FALSE(file->GetStrings("types").ok());
  EXPECT_FALSE(file->GetInts("count").ok());
  EXPECT_FALSE(file->GetFloats("types").ok());
}

TEST(GgufFile, TensorsLieWhereTheTableSays) {
  const std::string bytes = Sample();
  const auto file = *GgufFile::FromBytes("sample", BytesOf(bytes));
  const auto one = file->GetTensor("one");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ((*one)->bytes, 12u);
  EXPECT_EQ((*one)->DimsText(), "[3]");
  float values[3];
  std::memcpy(values, (*one)->data, sizeof(values));
  EXPECT_THAT(values, ElementsAre(1, 2, 3));
  const auto two = file->GetTensor("two");
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ((*two)->bytes, 68u);
  EXPECT_EQ((*two)->data[2], 127);
  EXPECT_EQ(file->tensors().size(), 3u);
}

TEST(GgufFile, ATensorTypeThatCannotBeReadIsRefusedWhenUsed) {
  const std::string bytes = Sample();
  const auto file = *GgufFile::FromBytes("sample", BytesOf(bytes));
  const absl::Status status = file->GetTensor("odd").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(status),
            "sample: tensor 'odd' is of type IQ3_S, readable are F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, "
            "Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16, MXFP4");
  EXPECT_EQ(file->GetTensor("none").status().code(), absl::StatusCode::kNotFound);
}

TEST(GgufFile, AFileOnDiskReadsLikeItsBytes) {
  const std::string path = testing::TempDir() + "/gguf_file_test.gguf";
  std::ofstream(path, std::ios::binary) << Sample();
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->GetString("name"), "Baton");
  std::remove(path.c_str());
}

TEST(GgufFile, WhatIsNoRegularGgufFileIsRefusedByName) {
  EXPECT_EQ(GgufFile::Open("/nonexistent/x.gguf").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(GgufFile::Open("/dev/null").status()), HasSubstr("/dev/null"));
  EXPECT_THAT(Message(GgufFile::Open(testing::TempDir()).status()),
              HasSubstr("not a regular file"));
  const std::string path = testing::TempDir() + "/gguf_file_test_empty.gguf";
  std::ofstream(path, std::ios::binary).flush();
  EXPECT_THAT(Message(GgufFile::Open(path).status()), HasSubstr("empty"));
  std::remove(path.c_str());
  const std::string text = "This is no model at all.";
  EXPECT_THAT(Message(GgufFile::FromBytes("x", BytesOf(text)).status()),
              HasSubstr("not a GGUF file"));
}

TEST(GgufFile, VersionTwoIsReadAndOthersAreNamed) {
  std::string bytes = Sample();
  bytes[4] = 2;
  EXPECT_TRUE(GgufFile::FromBytes("x", BytesOf(bytes)).ok());
  bytes[4] = 1;
  EXPECT_EQ(Message(GgufFile::FromBytes("x", BytesOf(bytes)).status()),
            "x: version at byte 4: 1, readable are 2 and 3");
  bytes[4] = 0;
  bytes[7] = 3;
  EXPECT_THAT(Message(GgufFile::FromBytes("x", BytesOf(bytes)).status()), HasSubstr("big-endian"));
}

TEST(GgufFile, AFileWithoutTensorsIsAVocabulary) {
  fakes::GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  const std::string bytes = writer.Bytes();
  const auto file = GgufFile::FromBytes("vocabulary", BytesOf(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->tensors().empty());
}

}  // namespace
}  // namespace baton::models
