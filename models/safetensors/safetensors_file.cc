#include "models/safetensors/safetensors_file.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "models/gguf/byte_cursor.h"

namespace baton::models {
namespace {

using nlohmann::json;

// Bytes of an element; 0 for a type whose size this reader does not know.
uint64_t ElementBytes(absl::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL") return 1;
  if (dtype == "F8_E4M3" || dtype == "F8_E5M2") return 1;
  return 0;
}

// Parses the header; duplicate names are refused (JSON would silently keep the last).
absl::StatusOr<json> ParseHeader(absl::string_view text) {
  std::set<std::string> names;
  std::string duplicate;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) {
      const std::string& name = parsed.get_ref<const std::string&>();
      if (!names.insert(name).second) duplicate = name;
    }
    return true;
  };
  json header;
  try {
    header = json::parse(text.data(), text.data() + text.size(), watch);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("header at byte 8: ", error.what()));
  }
  if (!duplicate.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(duplicate), " occurs twice"));
  }
  if (!header.is_object()) return absl::InvalidArgumentError("the header is not a JSON object");
  return header;
}

absl::Status ReadShape(const json& entry, SafetensorsTensor& tensor) {
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array() || shape->size() > SafetensorsFile::kMaxRank) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape is no list of at most ", SafetensorsFile::kMaxRank, " numbers"));
  }
  for (const json& dim : *shape) {
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      return absl::InvalidArgumentError("shape has a dimension that is no whole number in range");
    }
    tensor.shape.push_back(static_cast<int64_t>(dim.get<uint64_t>()));
  }
  return absl::OkStatus();
}

// Elements times element size must be the bytes of the range.
absl::Status CheckExtent(const SafetensorsTensor& tensor) {
  uint64_t needed = ElementBytes(tensor.dtype);
  if (needed == 0) return absl::OkStatus();  // refused when it is used
  for (int64_t dim : tensor.shape) {
    if (__builtin_mul_overflow(needed, static_cast<uint64_t>(dim), &needed)) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", tensor.ShapeText(), " takes more than 2^64 bytes"));
    }
  }
  if (needed != tensor.bytes) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", tensor.ShapeText(), " of ",
                                                   tensor.dtype, " takes ", needed,
                                                   " bytes, data_offsets give ", tensor.bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsTensor> ReadEntry(const json& entry, absl::Span<const uint8_t> data) {
  SafetensorsTensor tensor;
  if (!entry.is_object()) return absl::InvalidArgumentError("is not a JSON object");
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) {
    return absl::InvalidArgumentError("has no dtype");
  }
  tensor.dtype = dtype->get<std::string>();
  BATON_RETURN_IF_ERROR(ReadShape(entry, tensor));
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
    return absl::InvalidArgumentError("data_offsets are no list of two whole numbers");
  }
  const uint64_t begin = (*offsets)[0].get<uint64_t>(), end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > data.size()) {
    return absl::InvalidArgumentError(absl::StrCat("data_offsets [", begin, ", ", end,
                                                   "] do not lie in the ", data.size(),
                                                   " bytes of tensor data"));
  }
  tensor.bytes = end - begin;
  tensor.data = data.data() + begin;
  BATON_RETURN_IF_ERROR(CheckExtent(tensor));
  return tensor;
}

}  // namespace

std::string SafetensorsTensor::ShapeText() const {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(
    const std::string& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  BATON_ASSIGN_OR_RETURN(file->mapping_, MappedFile::Open(path));
  file->path_ = path;
  file->bytes_ = file->mapping_.bytes();
  BATON_RETURN_IF_ERROR(file->Parse());
  return file;
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::FromBytes(
    const std::string& name, absl::Span<const uint8_t> bytes) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->path_ = name;
  file->bytes_ = bytes;
  BATON_RETURN_IF_ERROR(file->Parse());
  return file;
}

absl::Status SafetensorsFile::Parse() {
  ByteCursor cursor(path_, bytes_);
  BATON_ASSIGN_OR_RETURN(const uint64_t length, cursor.Read<uint64_t>("header length"));
  const uint64_t limit = std::min(kMaxHeaderBytes, cursor.remaining());
  if (length > limit) {
    return cursor.Error("header length", 0,
                        absl::StrCat(length, ", allowed here are at most ", limit, " bytes"));
  }
  header_bytes_ = sizeof(uint64_t) + length;
  const absl::string_view text(reinterpret_cast<const char*>(bytes_.data()) + 8, length);
  const absl::StatusOr<json> header = ParseHeader(text);
  if (!header.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", header.status().message()));
  }
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__") continue;
    absl::StatusOr<SafetensorsTensor> tensor = ReadEntry(entry, bytes_.subspan(header_bytes_));
    if (!tensor.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": tensor ", Quoted(name), ": ", tensor.status().message()));
    }
    tensors_.emplace(name, *std::move(tensor));
  }
  return CheckNoOverlap();
}

absl::Status SafetensorsFile::CheckNoOverlap() const {
  std::vector<const std::pair<const std::string, SafetensorsTensor>*> order;
  for (const auto& entry : tensors_) {
    if (entry.second.bytes > 0) order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return a->second.data < b->second.data; });
  for (size_t i = 1; i < order.size(); ++i) {
    const SafetensorsTensor& before = order[i - 1]->second;
    if (order[i]->second.data < before.data + before.bytes) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": tensors ",
                                                     Quoted(order[i - 1]->first), " and ",
                                                     Quoted(order[i]->first), " overlap"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const SafetensorsTensor*> SafetensorsFile::GetTensor(absl::string_view name) const {
  const auto at = tensors_.find(name);
  if (at == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": has no tensor ", Quoted(name)));
  }
  return &at->second;
}

}  // namespace baton::models
