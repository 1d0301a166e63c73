// Reads the fields of a JSON object one by one, each checked for type and range; keeps the first
// error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "router/api_error.h"
#include "router/json_text.h"

namespace baton::router {

// An allowed interval of a number.
struct NumberRange {
  double min;
  double max;
  bool min_open = false;  // the minimum itself is not allowed
  bool max_open = false;
};

// Absent and null mean the same: nullopt. After an error every read gives nullopt. `object` must be
// a JSON object and outlive the reader.
class FieldReader {
 public:
  // `prefix` stands before the names in errors ("stream_options.").
  explicit FieldReader(const Json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  std::optional<double> Number(absl::string_view name, NumberRange range);
  // Whole numbers only; 3.0 is one. Numbers beyond 64 bits are out of range.
  std::optional<int64_t> Integer(absl::string_view name, int64_t min, int64_t max);
  std::optional<bool> Boolean(absl::string_view name);
  std::optional<std::string> String(absl::string_view name, size_t max_bytes);
  // A list of whole numbers in [min, max].
  std::optional<std::vector<int32_t>> Integers(absl::string_view name, int32_t min, int32_t max,
                                               size_t max_count);
  // The value itself, or nullptr where it is absent or null.
  const Json* Raw(absl::string_view name);

  // Records an error at `name` unless there is one already.
  void Fail(absl::string_view name, absl::string_view message, absl::string_view code = "");
  const std::optional<ApiError>& error() const { return error_; }
  void Take(std::optional<ApiError> error) {
    if (!error_) error_ = std::move(error);
  }

 private:
  const Json& object_;
  std::string prefix_;
  std::optional<ApiError> error_;
};

// Whether `value` is a whole number in [min, max]; writes it to `*out`.
bool ReadInteger(const Json& value, int64_t min, int64_t max, int64_t* out);

// The name of a JSON value's type, for messages.
absl::string_view TypeName(const Json& value);

}  // namespace baton::router
