#include "server/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/fakes/temp_folder.h"

namespace baton::server {
namespace {

int ModeOf(const std::string& path) {
  struct stat info = {};
  stat(path.c_str(), &info);
  return static_cast<int>(info.st_mode & 0777);
}

TEST(WriteFile, MakesFoldersAndReplacesWhatWasThere) {
  const fakes::TempFolder folder;
  const std::string path = folder.path() + "/a/b/file";
  ASSERT_TRUE(WriteFile(path, "one", FileReaders::kAll).ok());
  ASSERT_TRUE(WriteFile(path, "two", FileReaders::kAll).ok());
  EXPECT_EQ(fakes::ContentsOf(path), "two");
  // Nothing unfinished stays behind.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path() + "/a/b"), {}), 1);
}

TEST(WriteFile, KeepsAKeyFromOtherReaders) {
  const fakes::TempFolder folder;
  ASSERT_TRUE(WriteFile(folder.path() + "/key", "secret", FileReaders::kOwner).ok());
  ASSERT_TRUE(WriteFile(folder.path() + "/cert", "public", FileReaders::kAll).ok());
  EXPECT_EQ(ModeOf(folder.path() + "/key"), 0600);
  EXPECT_EQ(ModeOf(folder.path() + "/cert") & 0400, 0400);
}

TEST(WriteFile, NamesThePathThatCannotBeWritten) {
  const fakes::TempFolder folder;
  folder.Write("file", "x");
  const absl::Status status = WriteFile(folder.path() + "/file/below", "x", FileReaders::kAll);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find(folder.path() + "/file/below"), absl::string_view::npos);
}

}  // namespace
}  // namespace baton::server
