#include "models/gguf/gguf_file.h"

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

constexpr char kMagic[4] = {'G', 'G', 'U', 'F'};
constexpr uint32_t kMaxRank = 4;
// The least bytes that a metadata entry (length, key of one byte, type, value of one byte) and a
// tensor entry (length, name of one byte, rank, one dimension, type, offset) take: they bound the
// counts of the header.
constexpr uint64_t kLeastEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
// Keys and names of real files have tens of bytes; the format's own limit for keys.
constexpr uint64_t kMaxNameBytes = 65535;
constexpr char kAlignmentKey[] = "general.alignment";

absl::StatusOr<uint64_t> ReadCount(ByteCursor& cursor, uint64_t least_bytes,
                                   absl::string_view field) {
  const uint64_t offset = cursor.offset();
  BATON_ASSIGN_OR_RETURN(const uint64_t count, cursor.Read<uint64_t>(field));
  if (count > cursor.remaining() / least_bytes) {
    return cursor.Error(field, offset,
                        absl::StrCat(count, " entries of at least ", least_bytes,
                                     " bytes, but only ", cursor.remaining(), " bytes follow"));
  }
  return count;
}

absl::StatusOr<std::string> ReadName(ByteCursor& cursor, absl::string_view field) {
  const uint64_t offset = cursor.offset();
  BATON_ASSIGN_OR_RETURN(const absl::string_view name, cursor.ReadString(field));
  if (name.empty() || name.size() > kMaxNameBytes) {
    return cursor.Error(
        field, offset,
        absl::StrCat("is ", name.size(), " bytes long, allowed are 1 to ", kMaxNameBytes));
  }
  return std::string(name);
}

// Elements and bytes of a tensor whose type can be read.
absl::StatusOr<uint64_t> TensorBytes(const GgufTensor& tensor) {
  const GgmlTypeLayout layout = LayoutOf(tensor.type);
  uint64_t elements = 1;
  for (int64_t dim : tensor.dims) {
    if (__builtin_mul_overflow(elements, static_cast<uint64_t>(dim), &elements)) {
      return absl::InvalidArgumentError(
          absl::StrCat("dims ", tensor.DimsText(), " have more than 2^64 elements"));
    }
  }
  if (tensor.dims[0] % layout.block_elements != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("dims ", tensor.DimsText(), ": the first must be a multiple of ",
                     layout.block_elements, ", the block of ", GgmlTypeName(tensor.type)));
  }
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(elements / layout.block_elements, uint64_t{layout.block_bytes},
                             &bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("dims ", tensor.DimsText(), " take more than 2^64 bytes"));
  }
  return bytes;
}

}  // namespace

std::string GgufTensor::DimsText() const {
  return absl::StrCat("[", absl::StrJoin(dims.begin(), dims.begin() + rank, ", "), "]");
}

absl::StatusOr<std::shared_ptr<const GgufFile>> GgufFile::Open(const std::string& path) {
  std::shared_ptr<GgufFile> file(new GgufFile);
  BATON_ASSIGN_OR_RETURN(file->mapping_, MappedFile::Open(path));
  file->path_ = path;
  file->bytes_ = file->mapping_.bytes();
  BATON_RETURN_IF_ERROR(file->Parse());
  return file;
}

absl::StatusOr<std::shared_ptr<const GgufFile>> GgufFile::FromBytes(
    const std::string& name, absl::Span<const uint8_t> bytes) {
  std::shared_ptr<GgufFile> file(new GgufFile);
  file->path_ = name;
  file->bytes_ = bytes;
  BATON_RETURN_IF_ERROR(file->Parse());
  return file;
}

absl::Status GgufFile::Parse() {
  ByteCursor cursor(path_, bytes_);
  BATON_ASSIGN_OR_RETURN(const uint32_t magic, cursor.Read<uint32_t>("magic"));
  if (std::memcmp(&magic, kMagic, sizeof(kMagic)) != 0) {
    return cursor.Error("magic", 0, "not a GGUF file (it does not begin with 'GGUF')");
  }
  BATON_ASSIGN_OR_RETURN(const uint32_t version, cursor.Read<uint32_t>("version"));
  if (version != 2 && version != 3) {
    const bool swapped = version == 0x02000000u || version == 0x03000000u;
    return cursor.Error("version", 4,
                        swapped ? std::string("big-endian files cannot be read")
                                : absl::StrCat(version, ", readable are 2 and 3"));
  }
  BATON_ASSIGN_OR_RETURN(const uint64_t tensor_count,
                         ReadCount(cursor, kLeastTensorBytes, "tensor count"));
  BATON_ASSIGN_OR_RETURN(const uint64_t entry_count,
                         ReadCount(cursor, kLeastEntryBytes, "metadata count"));
  BATON_RETURN_IF_ERROR(ParseMetadata(cursor, entry_count));
  for (uint64_t i = 0; i < tensor_count; ++i) {
    BATON_RETURN_IF_ERROR(ParseTensor(cursor, i));
  }
  header_bytes_ = cursor.offset();
  return PlaceTensors(cursor);
}

absl::Status GgufFile::ParseMetadata(ByteCursor& cursor, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = cursor.offset();
    const std::string field = absl::StrCat("metadata key ", i);
    BATON_ASSIGN_OR_RETURN(std::string key, ReadName(cursor, field));
    BATON_ASSIGN_OR_RETURN(GgufValue value, GgufValue::Parse(cursor, key));
    const auto [at, inserted] = metadata_.emplace(std::move(key), value);
    if (!inserted) {
      return cursor.Error(field, offset, absl::StrCat("key ", Quoted(at->first), " occurs twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status GgufFile::ParseTensor(ByteCursor& cursor, uint64_t index) {
  GgufTensor tensor;
  const uint64_t name_offset = cursor.offset();
  const std::string name_field = absl::StrCat("name of tensor ", index);
  BATON_ASSIGN_OR_RETURN(tensor.name, ReadName(cursor, name_field));
  const std::string of = absl::StrCat(" of tensor ", Quoted(tensor.name));
  const uint64_t rank_offset = cursor.offset();
  BATON_ASSIGN_OR_RETURN(const uint32_t rank, cursor.Read<uint32_t>(absl::StrCat("rank", of)));
  if (rank < 1 || rank > kMaxRank) {
    return cursor.Error(absl::StrCat("rank", of), rank_offset,
                        absl::StrCat(rank, ", allowed are 1 to ", kMaxRank));
  }
  tensor.rank = static_cast<int32_t>(rank);
  for (uint32_t d = 0; d < rank; ++d) {
    const std::string field = absl::StrCat("dimension ", d, of);
    const uint64_t offset = cursor.offset();
    BATON_ASSIGN_OR_RETURN(const uint64_t dim, cursor.Read<uint64_t>(field));
    if (dim < 1 || dim > static_cast<uint64_t>(INT64_MAX)) {
      return cursor.Error(field, offset, absl::StrCat(dim, ", allowed are 1 to 2^63 - 1"));
    }
    tensor.dims[d] = static_cast<int64_t>(dim);
  }
  BATON_ASSIGN_OR_RETURN(const uint32_t type, cursor.Read<uint32_t>(absl::StrCat("type", of)));
  tensor.type = static_cast<GgmlType>(type);
  tensor.offset_field = cursor.offset();
  // Relative to the tensor data for now; PlaceTensors makes it a position in the file.
  BATON_ASSIGN_OR_RETURN(tensor.offset, cursor.Read<uint64_t>(absl::StrCat("offset", of)));
  if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
    return cursor.Error(name_field, name_offset,
                        absl::StrCat(Quoted(tensor.name), " occurs twice"));
  }
  tensors_.push_back(std::move(tensor));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> GgufFile::Alignment(const ByteCursor& cursor) const {
  if (!Has(kAlignmentKey)) return kDefaultAlignment;
  BATON_ASSIGN_OR_RETURN(const uint64_t alignment, GetUint(kAlignmentKey));
  // The format asks for a multiple of 8; a power of two keeps the rounding below simple, as in
  // ggml.
  if (alignment < 8 || (alignment & (alignment - 1)) != 0 || alignment > (uint64_t{1} << 31)) {
    const uint64_t offset = metadata_.find(kAlignmentKey)->second.data() - bytes_.data();
    return cursor.Error(
        kAlignmentKey, offset,
        absl::StrCat("is ", alignment, ", allowed are powers of two from 8 to 2^31"));
  }
  return alignment;
}

absl::Status GgufFile::PlaceTensors(const ByteCursor& cursor) {
  BATON_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(cursor));
  // No overflow: header_bytes_ is at most the file's size and alignment at most 2^31.
  const uint64_t data_begin = (header_bytes_ + alignment - 1) / alignment * alignment;
  const uint64_t data_bytes = bytes_.size() > data_begin ? bytes_.size() - data_begin : 0;
  for (GgufTensor& tensor : tensors_) {
    const std::string field = absl::StrCat("offset of tensor ", Quoted(tensor.name));
    if (tensor.offset % alignment != 0) {
      return cursor.Error(
          field, tensor.offset_field,
          absl::StrCat(tensor.offset, " is no multiple of ", kAlignmentKey, " ", alignment));
    }
    if (tensor.offset > data_bytes) {
      return cursor.Error(
          field, tensor.offset_field,
          absl::StrCat(tensor.offset, ", but the tensor data has only ", data_bytes, " bytes"));
    }
    const uint64_t relative = tensor.offset;
    tensor.offset += data_begin;
    if (LayoutOf(tensor.type).block_elements == 0) continue;  // refused when it is used
    absl::StatusOr<uint64_t> bytes = TensorBytes(tensor);
    const std::string shape = absl::StrCat("shape of tensor ", Quoted(tensor.name));
    if (!bytes.ok()) return cursor.Error(shape, tensor.offset, bytes.status().message());
    if (*bytes > data_bytes - relative) {
      return cursor.Error(
          absl::StrCat("data of tensor ", Quoted(tensor.name)), tensor.offset,
          absl::StrCat("dims ", tensor.DimsText(), " of ", GgmlTypeName(tensor.type), " need ",
                       *bytes, " bytes, but only ", data_bytes - relative, " follow"));
    }
    tensor.bytes = *bytes;
    tensor.data = bytes_.data() + tensor.offset;
  }
  return absl::OkStatus();
}

template <typename T>
absl::StatusOr<T> GgufFile::Get(absl::string_view key,
                                absl::StatusOr<T> (GgufValue::*as)() const) const {
  const auto at = metadata_.find(key);
  if (at == metadata_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": has no metadata key ", Quoted(key)));
  }
  absl::StatusOr<T> value = (at->second.*as)();
  if (!value.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": metadata key ", Quoted(key), " ", value.status().message()));
  }
  return value;
}

absl::StatusOr<std::string> GgufFile::GetString(absl::string_view key) const {
  BATON_ASSIGN_OR_RETURN(const absl::string_view text, Get(key, &GgufValue::AsString));
  return std::string(text);
}
absl::StatusOr<uint64_t> GgufFile::GetUint(absl::string_view key) const {
  return Get(key, &GgufValue::AsUint);
}
absl::StatusOr<int64_t> GgufFile::GetInt(absl::string_view key) const {
  return Get(key, &GgufValue::AsInt);
}
absl::StatusOr<double> GgufFile::GetFloat(absl::string_view key) const {
  return Get(key, &GgufValue::AsFloat);
}
absl::StatusOr<bool> GgufFile::GetBool(absl::string_view key) const {
  return Get(key, &GgufValue::AsBool);
}
absl::StatusOr<std::vector<absl::string_view>> GgufFile::GetStrings(absl::string_view key) const {
  return Get(key, &GgufValue::AsStrings);
}
absl::StatusOr<std::vector<int64_t>> GgufFile::GetInts(absl::string_view key) const {
  return Get(key, &GgufValue::AsInts);
}
absl::StatusOr<std::vector<double>> GgufFile::GetFloats(absl::string_view key) const {
  return Get(key, &GgufValue::AsFloats);
}

const GgufTensor* GgufFile::Find(absl::string_view name) const {
  const auto at = tensor_index_.find(name);
  return at == tensor_index_.end() ? nullptr : &tensors_[at->second];
}

absl::StatusOr<const GgufTensor*> GgufFile::GetTensor(absl::string_view name) const {
  const GgufTensor* tensor = Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat(path_, ": has no tensor ", Quoted(name)));
  }
  if (tensor->data == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", Quoted(name), " is of type ",
                                                   GgmlTypeName(tensor->type), ", readable are ",
                                                   ReadableGgmlTypes()));
  }
  return tensor;
}

}  // namespace baton::models
