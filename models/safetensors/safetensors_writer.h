// Writes a safetensors file, tensor by tensor, so that outputs larger than memory can be written
// too.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace baton::models {

// What the file will hold. Names are unique; the data comes in this order.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // "F32" or "I32"
  std::vector<int64_t> shape;  // each >= 0
};

// Not thread-safe. The file appears under its name only when Finish has succeeded; until then it
// lies beside it as
// "<path>.partial", which is removed when the writer is destroyed early.
class SafetensorsWriter {
 public:
  // Creates the file and writes the header. Errors name the path and what the system says.
  static absl::StatusOr<SafetensorsWriter> Create(const std::string& path,
                                                  const std::vector<SafetensorsEntry>& entries);
  SafetensorsWriter(SafetensorsWriter&& other) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = delete;
  ~SafetensorsWriter();

  // Appends data of the next entry or of a part of it.
  absl::Status Append(const void* data, size_t bytes);
  // FailedPrecondition when the bytes appended are not those that the header promises.
  absl::Status Finish();

 private:
  SafetensorsWriter() = default;
  absl::Status Error(const char* what) const;

  std::string path_;
  std::FILE* file_ = nullptr;
  uint64_t expected_bytes_ = 0;
  uint64_t appended_bytes_ = 0;
};

}  // namespace baton::models
