// Early return on absl::Status errors.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function with the status of `expression` unless it is OK.
#define BATON_RETURN_IF_ERROR(expression)                \
  do {                                                   \
    if (absl::Status baton_status_ = (expression);       \
        !baton_status_.ok())                             \
      return baton_status_;                              \
  } while (false)

#define BATON_CONCAT_INNER(a, b) a##b
#define BATON_CONCAT(a, b) BATON_CONCAT_INNER(a, b)

// ASSIGN_OR_RETURN(auto x, F()): assigns the value of the StatusOr, or returns its status.
#define BATON_ASSIGN_OR_RETURN(target, expression) \
  BATON_ASSIGN_OR_RETURN_IMPL(BATON_CONCAT(baton_or_, __LINE__), target, expression)
#define BATON_ASSIGN_OR_RETURN_IMPL(result, target, expression) \
  auto result = (expression);                                   \
  if (!result.ok()) return std::move(result).status();          \
  target = *std::move(result)
