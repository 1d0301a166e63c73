// Writes a small file so that a reader never sees half of it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace baton::server {

enum class FileReaders { kOwner, kAll };  // mode 0600 or 0644

// Makes missing folders, writes beside `path` and renames. Errors name the path and the reason.
absl::Status WriteFile(const std::string& path, absl::string_view contents, FileReaders readers);

}  // namespace baton::server
