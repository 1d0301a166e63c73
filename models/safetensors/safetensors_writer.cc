#include "models/safetensors/safetensors_writer.h"

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

std::string PartialPath(const std::string& path) { return path + ".partial"; }

}  // namespace

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(
    const std::string& path, const std::vector<SafetensorsEntry>& entries) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  uint64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.dtype != "F32" && entry.dtype != "I32") {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", entry.name, " has dtype ",
                                                     entry.dtype, ", writable are F32 and I32"));
    }
    uint64_t bytes = 4;
    for (int64_t dim : entry.shape) {
      if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": tensor ", entry.name, " has a shape out of range"));
      }
    }
    header[entry.name] = {
        {"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  // Spaces up to a multiple of 8 keep the tensor data aligned.
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');

  SafetensorsWriter writer;
  writer.path_ = path;
  writer.expected_bytes_ = offset;
  writer.file_ = std::fopen(PartialPath(path).c_str(), "wb");
  if (writer.file_ == nullptr) return writer.Error("cannot create");
  const uint64_t length = text.size();
  BATON_RETURN_IF_ERROR(writer.Append(&length, sizeof(length)));
  BATON_RETURN_IF_ERROR(writer.Append(text.data(), text.size()));
  writer.appended_bytes_ = 0;
  return writer;
}

SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, nullptr)),
      expected_bytes_(other.expected_bytes_),
      appended_bytes_(other.appended_bytes_) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::remove(PartialPath(path_).c_str());
}

absl::Status SafetensorsWriter::Append(const void* data, size_t bytes) {
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes) return Error("cannot write");
  appended_bytes_ += bytes;
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (appended_bytes_ != expected_bytes_) {
    return absl::FailedPreconditionError(absl::StrCat(path_, ": ", appended_bytes_,
                                                      " bytes were written, the header promises ",
                                                      expected_bytes_));
  }
  const bool flushed = std::fclose(std::exchange(file_, nullptr)) == 0;
  if (!flushed || std::rename(PartialPath(path_).c_str(), path_.c_str()) != 0) {
    const absl::Status status = Error("cannot finish");
    std::remove(PartialPath(path_).c_str());
    return status;
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Error(const char* what) const {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, " ", path_));
}

}  // namespace baton::models
