// Turns a Hugging Face folder with plain weights into a GGUF file as llama.cpp's converter does:
// its names and metadata keys, its permutations, splits and stacks.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace baton::fakes {

// The bytes of the GGUF file of the folder's model, without a tokenizer. InvalidArgument: a family
// that llama.cpp does not have.
absl::StatusOr<std::string> HfToGguf(const std::string& folder);

}  // namespace baton::fakes
