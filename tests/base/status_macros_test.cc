#include "base/status_macros.h"

#include <gtest/gtest.h>

#include <memory>

namespace baton {
namespace {

absl::StatusOr<std::unique_ptr<int>> Make(bool good) {
  if (!good) return absl::NotFoundError("no number");
  return std::make_unique<int>(7);
}

absl::Status Add(bool good, int* sum) {
  BATON_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, Make(true));
  BATON_ASSIGN_OR_RETURN(const std::unique_ptr<int> second, Make(good));
  *sum = *first + *second;
  return absl::OkStatus();
}

absl::Status AddTwice(bool good, int* sum) {
  BATON_RETURN_IF_ERROR(Add(good, sum));
  *sum *= 2;
  return absl::OkStatus();
}

TEST(StatusMacros, PassValuesThatCannotBeCopied) {
  int sum = 0;
  EXPECT_TRUE(AddTwice(true, &sum).ok());
  EXPECT_EQ(sum, 28);
}

TEST(StatusMacros, ReturnTheFirstErrorAsItIs) {
  int sum = 0;
  EXPECT_EQ(AddTwice(false, &sum), absl::NotFoundError("no number"));
  EXPECT_EQ(sum, 0);
}

}  // namespace
}  // namespace baton
