#include "models/gguf/gguf_value.h"

#include <cstring>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

// Bytes of a scalar; 0 for strings, arrays and unknown numbers.
uint64_t ScalarBytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      break;
  }
  return 0;
}

absl::string_view NameOf(GgufValueType type) {
  static constexpr absl::string_view kNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                 "int32",  "float32", "bool",   "string", "array",
                                                 "uint64", "int64",   "float64"};
  return kNames[static_cast<uint32_t>(type)];
}

bool IsInteger(GgufValueType type) {
  return ScalarBytes(type) != 0 && type != GgufValueType::kBool &&
         type != GgufValueType::kFloat32 && type != GgufValueType::kFloat64;
}

bool IsFloat(GgufValueType type) {
  return type == GgufValueType::kFloat32 || type == GgufValueType::kFloat64;
}

template <typename T>
T Load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// REQUIRES: IsInteger(type) and type != kUint64.
int64_t LoadSigned(GgufValueType type, const uint8_t* from) {
  switch (type) {
    case GgufValueType::kUint8:
      return Load<uint8_t>(from);
    case GgufValueType::kInt8:
      return Load<int8_t>(from);
    case GgufValueType::kUint16:
      return Load<uint16_t>(from);
    case GgufValueType::kInt16:
      return Load<int16_t>(from);
    case GgufValueType::kUint32:
      return Load<uint32_t>(from);
    case GgufValueType::kInt32:
      return Load<int32_t>(from);
    default:
      return Load<int64_t>(from);
  }
}

absl::StatusOr<int64_t> LoadInt(GgufValueType type, const uint8_t* from) {
  if (type != GgufValueType::kUint64) return LoadSigned(type, from);
  const uint64_t value = Load<uint64_t>(from);
  if (value > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return absl::InvalidArgumentError(absl::StrCat(value, " does not fit a signed 64-bit integer"));
  }
  return static_cast<int64_t>(value);
}

double LoadFloat(GgufValueType type, const uint8_t* from) {
  return type == GgufValueType::kFloat32 ? Load<float>(from) : Load<double>(from);
}

// REQUIRES: the length was checked by Parse.
absl::string_view LoadString(const uint8_t* from) {
  return {reinterpret_cast<const char*>(from) + sizeof(uint64_t), Load<uint64_t>(from)};
}

absl::StatusOr<GgufValueType> ParseType(ByteCursor& cursor, absl::string_view field) {
  const uint64_t offset = cursor.offset();
  BATON_ASSIGN_OR_RETURN(const uint32_t number, cursor.Read<uint32_t>(field));
  if (number > static_cast<uint32_t>(GgufValueType::kFloat64)) {
    return cursor.Error(field, offset, absl::StrCat("unknown value type ", number));
  }
  return static_cast<GgufValueType>(number);
}

}  // namespace

absl::StatusOr<GgufValue> GgufValue::Parse(ByteCursor& cursor, absl::string_view key) {
  GgufValue value;
  const std::string type_field = absl::StrCat("type of key ", Quoted(key));
  BATON_ASSIGN_OR_RETURN(value.type_, ParseType(cursor, type_field));
  const std::string field = absl::StrCat("value of key ", Quoted(key));
  if (value.type_ == GgufValueType::kArray) {
    value.is_array_ = true;
    const std::string element_field = absl::StrCat("element type of key ", Quoted(key));
    const uint64_t element_offset = cursor.offset();
    BATON_ASSIGN_OR_RETURN(value.type_, ParseType(cursor, element_field));
    if (value.type_ == GgufValueType::kArray) {
      return cursor.Error(element_field, element_offset, "arrays of arrays cannot be read");
    }
    const std::string count_field = absl::StrCat("element count of key ", Quoted(key));
    const uint64_t count_offset = cursor.offset();
    BATON_ASSIGN_OR_RETURN(value.count_, cursor.Read<uint64_t>(count_field));
    const uint64_t least = value.type_ == GgufValueType::kString ? 8 : ScalarBytes(value.type_);
    if (value.count_ > cursor.remaining() / least) {
      return cursor.Error(count_field, count_offset,
                          absl::StrCat(value.count_, " elements of at least ", least,
                                       " bytes, but only ", cursor.remaining(), " bytes follow"));
    }
  }
  const uint64_t begin = cursor.offset();
  if (value.type_ == GgufValueType::kString) {
    BATON_ASSIGN_OR_RETURN(value.data_, cursor.Skip(0, 1, field));
    for (uint64_t i = 0; i < value.count_; ++i) {
      BATON_RETURN_IF_ERROR(cursor.ReadString(field).status());
    }
    return value;
  }
  BATON_ASSIGN_OR_RETURN(value.data_, cursor.Skip(value.count_, ScalarBytes(value.type_), field));
  if (value.type_ == GgufValueType::kBool) {
    for (uint64_t i = 0; i < value.count_; ++i) {
      if (value.data_[i] > 1) {
        return cursor.Error(field, begin + i,
                            absl::StrCat("a bool is 0 or 1, not ", int{value.data_[i]}));
      }
    }
  }
  return value;
}

std::string GgufValue::TypeName() const {
  if (!is_array_) return std::string(NameOf(type_));
  return absl::StrCat("array of ", count_, " ", NameOf(type_));
}

absl::Status GgufValue::Mismatch(absl::string_view needed) const {
  return absl::InvalidArgumentError(absl::StrCat("is of type ", TypeName(), ", needed ", needed));
}

absl::StatusOr<absl::string_view> GgufValue::AsString() const {
  if (is_array_ || type_ != GgufValueType::kString) return Mismatch("string");
  return LoadString(data_);
}

absl::StatusOr<uint64_t> GgufValue::AsUint() const {
  if (is_array_ || !IsInteger(type_)) return Mismatch("unsigned integer");
  if (type_ == GgufValueType::kUint64) return Load<uint64_t>(data_);
  const int64_t value = LoadSigned(type_, data_);
  if (value < 0) {
    return absl::InvalidArgumentError(absl::StrCat("is ", value, ", needed at least 0"));
  }
  return static_cast<uint64_t>(value);
}

absl::StatusOr<int64_t> GgufValue::AsInt() const {
  if (is_array_ || !IsInteger(type_)) return Mismatch("integer");
  return LoadInt(type_, data_);
}

absl::StatusOr<double> GgufValue::AsFloat() const {
  if (is_array_ || !IsFloat(type_)) return Mismatch("float");
  return LoadFloat(type_, data_);
}

absl::StatusOr<bool> GgufValue::AsBool() const {
  if (is_array_ || type_ != GgufValueType::kBool) return Mismatch("bool");
  return data_[0] != 0;
}

absl::StatusOr<std::vector<absl::string_view>> GgufValue::AsStrings() const {
  if (!is_array_ || type_ != GgufValueType::kString) return Mismatch("array of string");
  std::vector<absl::string_view> strings;
  strings.reserve(count_);
  const uint8_t* from = data_;
  for (uint64_t i = 0; i < count_; ++i) {
    strings.push_back(LoadString(from));
    from += sizeof(uint64_t) + strings.back().size();
  }
  return strings;
}

absl::StatusOr<std::vector<int64_t>> GgufValue::AsInts() const {
  if (!is_array_ || !(IsInteger(type_) || type_ == GgufValueType::kBool)) {
    return Mismatch("array of integer");
  }
  std::vector<int64_t> values;
  values.reserve(count_);
  for (uint64_t i = 0; i < count_; ++i) {
    const uint8_t* at = data_ + i * ScalarBytes(type_);
    if (type_ == GgufValueType::kBool) {
      values.push_back(*at != 0 ? 1 : 0);
      continue;
    }
    BATON_ASSIGN_OR_RETURN(const int64_t value, LoadInt(type_, at));
    values.push_back(value);
  }
  return values;
}

absl::StatusOr<std::vector<double>> GgufValue::AsFloats() const {
  if (!is_array_ || !IsFloat(type_)) return Mismatch("array of float");
  std::vector<double> values;
  values.reserve(count_);
  for (uint64_t i = 0; i < count_; ++i) {
    values.push_back(LoadFloat(type_, data_ + i * ScalarBytes(type_)));
  }
  return values;
}

}  // namespace baton::models
