// Where the model lies that a user names.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace baton::cli {

// A file or folder is itself. org/name is the snapshot of refs/main in the local Hugging Face cache
// (HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub, the first
// that is set); of a snapshot without config.json its only GGUF file. Nothing is fetched.
// NotFound: says where was looked.
absl::StatusOr<std::string> ResolveModel(const std::string& model);

}  // namespace baton::cli
