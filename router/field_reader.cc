#include "router/field_reader.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::router {
namespace {

constexpr double kTwoTo63 = 9223372036854775808.0;

std::string RangeText(NumberRange range) {
  return absl::StrFormat("%c%g, %g%c", range.min_open ? '(' : '[', range.min, range.max,
                         range.max_open ? ')' : ']');
}

}  // namespace

absl::string_view TypeName(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "boolean";
  if (value.is_number()) return "number";
  if (value.is_string()) return "string";
  return value.is_array() ? "array" : "object";
}

bool ReadInteger(const Json& value, int64_t min, int64_t max, int64_t* out) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return false;
    *out = static_cast<int64_t>(number);
  } else if (value.is_number_integer()) {
    *out = value.get<int64_t>();
  } else if (value.is_number_float()) {
    const double number = value.get<double>();
    if (!(number > -kTwoTo63 && number < kTwoTo63) || number != std::floor(number)) return false;
    *out = static_cast<int64_t>(number);
  } else {
    return false;
  }
  return *out >= min && *out <= max;
}

const Json* FieldReader::Raw(absl::string_view name) {
  if (error_) return nullptr;
  const auto it = object_.find(std::string(name));
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void FieldReader::Fail(absl::string_view name, absl::string_view message, absl::string_view code) {
  if (error_) return;
  const std::string param = absl::StrCat(prefix_, name);
  error_ = InvalidParam(param, absl::StrCat("'", param, "' ", message), code);
}

std::optional<double> FieldReader::Number(absl::string_view name, NumberRange range) {
  const Json* value = Raw(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    Fail(name, absl::StrCat("must be a number, not ", TypeName(*value), "."));
    return std::nullopt;
  }
  const double number = value->get<double>();
  const bool low = range.min_open ? number > range.min : number >= range.min;
  const bool high = range.max_open ? number < range.max : number <= range.max;
  if (!std::isfinite(number) || !low || !high) {
    Fail(name, absl::StrFormat("must be in %s, got %g.", RangeText(range), number));
    return std::nullopt;
  }
  return number;
}

std::optional<int64_t> FieldReader::Integer(absl::string_view name, int64_t min, int64_t max) {
  const Json* value = Raw(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    Fail(name, absl::StrCat("must be an integer, not ", TypeName(*value), "."));
    return std::nullopt;
  }
  int64_t number = 0;
  if (!ReadInteger(*value, min, max, &number)) {
    Fail(name, absl::StrCat("must be a whole number in [", min, ", ", max, "], got ", value->dump(),
                            "."));
    return std::nullopt;
  }
  return number;
}

std::optional<bool> FieldReader::Boolean(absl::string_view name) {
  const Json* value = Raw(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    Fail(name, absl::StrCat("must be true or false, not ", TypeName(*value), "."));
    return std::nullopt;
  }
  return value->get<bool>();
}

std::optional<std::string> FieldReader::String(absl::string_view name, size_t max_bytes) {
  const Json* value = Raw(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    Fail(name, absl::StrCat("must be a string, not ", TypeName(*value), "."));
    return std::nullopt;
  }
  const std::string& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) {
    Fail(name, absl::StrCat("must have at most ", max_bytes, " bytes, has ", text.size(), "."));
    return std::nullopt;
  }
  return text;
}

std::optional<std::vector<int32_t>> FieldReader::Integers(absl::string_view name, int32_t min,
                                                          int32_t max, size_t max_count) {
  const Json* value = Raw(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) {
    Fail(name, absl::StrCat("must be a list of integers, not ", TypeName(*value), "."));
    return std::nullopt;
  }
  if (value->size() > max_count) {
    Fail(name, absl::StrCat("must have at most ", max_count, " entries, has ", value->size(), "."));
    return std::nullopt;
  }
  std::vector<int32_t> numbers;
  numbers.reserve(value->size());
  for (const Json& entry : *value) {
    int64_t number = 0;
    if (!ReadInteger(entry, min, max, &number)) {
      Fail(name, absl::StrCat("must hold whole numbers in [", min, ", ", max, "] only, entry ",
                              numbers.size(), " is not one."));
      return std::nullopt;
    }
    numbers.push_back(static_cast<int32_t>(number));
  }
  return numbers;
}

}  // namespace baton::router
