// A model's identity, cheap to compute for files of any size.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "models/gguf/gguf_file.h"

namespace baton::models {

// One file of a model: what describes its tensors, and the tensors' bytes.
struct FileExtents {
  absl::Span<const uint8_t> header;
  absl::Span<const uint8_t> data;
};

// xxh3-64 over `configuration`, each file's header and size, and 64 samples of 4 KiB spread evenly
// over the data of all files. Files of equal fingerprints hold the same model, except where
// somebody changed single weights between the samples.
uint64_t Fingerprint(absl::string_view configuration, absl::Span<const FileExtents> files);

// The fingerprint of a model that is one GGUF file.
uint64_t Fingerprint(const GgufFile& file);

}  // namespace baton::models
