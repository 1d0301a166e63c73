// The status page's files, linked into the router.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace baton::web {

struct WebFile {
  absl::string_view path;  // "/" or "/web/app.js"
  absl::string_view content_type;
  absl::string_view body;
};

// The file at this path of the server, or nullptr.
const WebFile* FindWebFile(absl::string_view path);

}  // namespace baton::web
