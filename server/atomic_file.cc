#include "server/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace baton::server {

absl::Status WriteFile(const std::string& path, absl::string_view contents, FileReaders readers) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const std::string unfinished = absl::StrCat(path, ".", getpid(), ".tmp");
  // The mode is right from the first byte on: a key must not be readable by others for a moment.
  const int file = open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                        readers == FileReaders::kOwner ? 0600 : 0644);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
  bool good = true;
  while (good && !contents.empty()) {
    const ssize_t written = write(file, contents.data(), contents.size());
    good = written > 0;
    if (good) contents.remove_prefix(static_cast<size_t>(written));
  }
  good = good && fsync(file) == 0;
  const int write_error = errno;
  close(file);
  if (!good || std::rename(unfinished.c_str(), path.c_str()) != 0) {
    const int reason = good ? errno : write_error;
    unlink(unfinished.c_str());
    return absl::ErrnoToStatus(reason, absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

}  // namespace baton::server
