#include "router/admission.h"

#include <gtest/gtest.h>

#include <utility>

namespace baton::router {
namespace {

TEST(AdmissionTest, RefusesWith429WhenEverySlotIsTakenAndAdmitsAgainWhenOneIsReleased) {
  Admission admission(2);
  Admission::Slot first, second, third;
  EXPECT_FALSE(admission.Admit(&first));
  EXPECT_FALSE(admission.Admit(&second));
  const auto error = admission.Admit(&third);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->http_status, 429);
  EXPECT_GT(error->retry_after_ms, 0);
  first.Release();
  EXPECT_FALSE(admission.Admit(&third));
  EXPECT_EQ(admission.running(), 2);
}

TEST(AdmissionTest, ASlotIsReleasedOnceHoweverOftenItIsMoved) {
  Admission admission(1);
  {
    Admission::Slot slot;
    EXPECT_FALSE(admission.Admit(&slot));
    Admission::Slot moved(std::move(slot));
    Admission::Slot assigned;
    assigned = std::move(moved);
    EXPECT_EQ(admission.running(), 1);
  }
  EXPECT_EQ(admission.running(), 0);
}

TEST(AdmissionTest, RefusesWith503WhileDraining) {
  Admission admission(1);
  admission.StartDraining();
  Admission::Slot slot;
  const auto error = admission.Admit(&slot);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->http_status, 503);
}

}  // namespace
}  // namespace baton::router
