#include "cli/model_path.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace baton::cli {
namespace {

namespace fs = std::filesystem;

fs::path CacheFolder() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (!variable("HF_HUB_CACHE").empty()) return variable("HF_HUB_CACHE");
  if (!variable("HF_HOME").empty()) return variable("HF_HOME") / "hub";
  if (!variable("XDG_CACHE_HOME").empty()) return variable("XDG_CACHE_HOME") / "huggingface/hub";
  return variable("HOME") / ".cache/huggingface/hub";
}

std::vector<fs::path> Entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

// The revision that refs/main names; without it, the only one.
absl::StatusOr<fs::path> Snapshot(const fs::path& repository) {
  std::string revision;
  std::ifstream(repository / "refs" / "main") >> revision;
  const fs::path snapshots = repository / "snapshots";
  if (!revision.empty() && fs::is_directory(snapshots / revision)) return snapshots / revision;
  const std::vector<fs::path> all = Entries(snapshots);
  if (revision.empty() && all.size() == 1) return all[0];
  return absl::NotFoundError(
      absl::StrCat(repository.string(), ": refs/main names ",
                   revision.empty() ? "no revision" : absl::StrCat("revision ", revision),
                   ", snapshots has ", all.size(), " others"));
}

absl::StatusOr<std::string> ModelOf(const fs::path& snapshot) {
  if (fs::exists(snapshot / "config.json")) return snapshot.string();
  std::vector<std::string> files;
  for (const fs::path& entry : Entries(snapshot)) {
    if (entry.extension() == ".gguf") files.push_back(entry.string());
  }
  if (files.size() == 1) return files[0];
  return absl::NotFoundError(
      absl::StrCat(snapshot.string(), ": has no config.json and ", files.size(),
                   " GGUF files; name one of them: ", absl::StrJoin(files, ", ")));
}

}  // namespace

absl::StatusOr<std::string> ResolveModel(const std::string& model) {
  if (fs::exists(model)) return model;
  const size_t slash = model.find('/');
  const bool id = slash != std::string::npos && slash > 0 && slash + 1 < model.size() &&
                  model.find('/', slash + 1) == std::string::npos && model[0] != '.';
  if (!id) return absl::NotFoundError(absl::StrCat(model, ": no such file or folder"));
  const std::string folder =
      absl::StrCat("models--", model.substr(0, slash), "--", model.substr(slash + 1));
  const fs::path repository = CacheFolder() / folder;
  if (!fs::is_directory(repository)) {
    return absl::NotFoundError(absl::StrCat(
        model, ": neither a path nor in the Hugging Face cache (", repository.string(), ")"));
  }
  BATON_ASSIGN_OR_RETURN(const fs::path snapshot, Snapshot(repository));
  return ModelOf(snapshot);
}

}  // namespace baton::cli
