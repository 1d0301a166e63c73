#include "router/admission.h"

#include <gtest/gtest.h>

#include <utility>

namespace baton::router {
namespace {

// A line with one place in the cluster, and a cluster that says what the test wants.
class AdmissionTest : public ::testing::Test {
 protected:
  // What became of one request.
  struct Request {
    Admission::Slot slot;
    bool begun = false;
    std::optional<ApiError> error;
    bool waiting() const { return !begun && !error; }
  };

  void Open(Admission::Limits limits) {
    admission_ = std::make_unique<Admission>(limits, clock_, [this](const AdmissionAsk& ask) {
      return ask.tenant == "local" ? outlook_of_local_ : outlook_;
    });
  }
  std::unique_ptr<Request> Enter(AdmissionAsk ask = {}) {
    auto request = std::make_unique<Request>();
    ask.arrived = clock_.Now();
    Request* raw = request.get();
    bool begins = false;
    auto error = admission_->Enter(
        std::move(ask),
        [raw](std::optional<ApiError> refusal) {
          raw->error = std::move(refusal);
          raw->begun = !raw->error;
        },
        &request->slot, &begins);
    if (error) request->error = std::move(error);
    if (begins) request->begun = true;
    return request;
  }
  static AdmissionAsk Of(const std::string& tenant, int32_t priority = 0) {
    AdmissionAsk ask;
    ask.tenant = tenant;
    ask.priority = priority;
    return ask;
  }

  ManualClock clock_;
  Outlook outlook_{.ttft_s = 0.1, .work_s = 0.1};
  Outlook outlook_of_local_;
  std::unique_ptr<Admission> admission_;
};

TEST_F(AdmissionTest, WhoFindsRoomBeginsAtOnceTheOthersWaitAndTheLineIsBounded) {
  Open({.running_max = 1, .waiting_max = 2});
  auto first = Enter(), second = Enter(), third = Enter(), fourth = Enter();
  EXPECT_TRUE(first->begun);
  EXPECT_TRUE(second->waiting());
  EXPECT_TRUE(third->waiting());
  ASSERT_TRUE(fourth->error);
  EXPECT_EQ(fourth->error->http_status, 429);
  EXPECT_GE(fourth->error->retry_after_ms, 100);
  EXPECT_EQ(admission_->held(), 3);
  first->slot.Release();
  EXPECT_TRUE(second->begun);
  EXPECT_TRUE(third->waiting());
  third->slot.Release();  // its client left
  EXPECT_EQ(admission_->waiting(), 0);
  second->slot.Release();
  EXPECT_EQ(admission_->held(), 0);
  EXPECT_EQ(admission_->count(AdmissionResult::kAdmitted), 2);
  EXPECT_EQ(admission_->count(AdmissionResult::kLineFull), 1);
}

TEST_F(AdmissionTest, ASlotIsReleasedOnceHoweverOftenItIsMoved) {
  Open({});
  auto request = Enter();
  {
    Admission::Slot moved(std::move(request->slot));
    Admission::Slot assigned;
    assigned = std::move(moved);
    EXPECT_EQ(admission_->running(), 1);
  }
  EXPECT_EQ(admission_->running(), 0);
}

TEST_F(AdmissionTest, WhenTheClusterHasNoRoomRequestsWaitUntilItHas) {
  Open({});
  outlook_.room = Outlook::Room::kNotForPrompt;
  auto first = Enter(), second = Enter();
  EXPECT_TRUE(first->waiting());
  admission_->Poke();
  EXPECT_TRUE(first->waiting());
  outlook_.room = Outlook::Room::kYes;
  admission_->Poke();
  EXPECT_TRUE(first->begun);
  EXPECT_TRUE(second->begun);
}

TEST_F(AdmissionTest, NoMoreBeginsAtOnceThanTheWindowHolds) {
  Open({.window = absl::Milliseconds(500)});
  outlook_.room = Outlook::Room::kNotForPrompt;
  outlook_.work_s = 0.4;
  std::vector<std::unique_ptr<Request>> requests;
  for (int i = 0; i < 6; ++i) requests.push_back(Enter());
  outlook_.room = Outlook::Room::kYes;
  admission_->Poke();
  EXPECT_EQ(admission_->running(), kPromptsAtOnce);
}

TEST_F(AdmissionTest, WhoNeedsNoPrefillNodeDoesNotWaitForThoseWhoDo) {
  Open({});
  outlook_.room = Outlook::Room::kNotForPrompt;
  auto first = Enter();
  outlook_of_local_.prefill_node = false;
  auto local = Enter(Of("local"));
  EXPECT_TRUE(local->begun);
  EXPECT_TRUE(first->waiting());
  // But who waits for decode is not overtaken by those who would decode, too.
  outlook_.room = Outlook::Room::kNotForDecode;
  clock_.Advance(absl::Seconds(1));  // the longer wait outweighs what "local" was given
  auto second = Enter(Of("local"));
  EXPECT_TRUE(second->waiting());
  outlook_.room = Outlook::Room::kNotForPrompt;
  admission_->Poke();
  EXPECT_TRUE(second->begun);
  EXPECT_TRUE(first->waiting());
}

TEST_F(AdmissionTest, WhoWouldMissItsObjectiveIsToldAtOnceWithTheTimeThatIsMissing) {
  Open({});
  outlook_.ttft_s = 3;
  AdmissionAsk ask;
  ask.ttft_slo_s = 1;
  auto request = Enter(ask);
  ASSERT_TRUE(request->error);
  EXPECT_EQ(request->error->http_status, 429);
  EXPECT_EQ(request->error->retry_after_ms, 2000);
  EXPECT_EQ(admission_->held(), 0);
  ask.ttft_slo_s = 3.5;
  EXPECT_TRUE(Enter(ask)->begun);
}

TEST_F(AdmissionTest, TheLineBeforeARequestCounts) {
  Open({});
  outlook_ = {.room = Outlook::Room::kNotForPrompt, .ttft_s = 0.5, .work_s = 0.4};
  AdmissionAsk ask;
  ask.ttft_slo_s = 1.5;
  auto a = Enter(ask), b = Enter(ask), c = Enter(ask), d = Enter(ask);
  EXPECT_TRUE(c->waiting());  // 0.8 s before it, and 0.5 s of its own
  ASSERT_TRUE(d->error);      // 1.7 s
  outlook_.workers = 2;       // two nodes share the work
  EXPECT_TRUE(Enter(ask)->waiting());
}

TEST_F(AdmissionTest, TheMovementOfTheLineTellsWhatTheNodesDoNot) {
  Open({.running_max = 1});
  auto running = Enter();
  std::vector<std::unique_ptr<Request>> line;
  for (int i = 0; i < 6; ++i) line.push_back(Enter());
  // One a second, though each is only a tenth of a second of prefill.
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(absl::Seconds(1));
    (i == 0 ? running : line[i - 1])->slot.Release();
  }
  AdmissionAsk ask;
  ask.ttft_slo_s = 2;
  auto late = Enter(ask);  // three wait
  ASSERT_TRUE(late->error);
  EXPECT_NEAR(static_cast<double>(late->error->retry_after_ms), 1100, 50);
}

TEST_F(AdmissionTest, WhoWaitedForAsLongAsItsObjectiveIsSentAway) {
  Open({.running_max = 1});
  auto first = Enter();
  AdmissionAsk ask;
  ask.ttft_slo_s = 1;
  auto second = Enter(ask);
  EXPECT_TRUE(second->waiting());
  clock_.Advance(absl::Seconds(1));
  admission_->Poke();
  ASSERT_TRUE(second->error);
  EXPECT_EQ(second->error->http_status, 429);
  EXPECT_EQ(admission_->count(AdmissionResult::kMissedSlo), 1);
}

TEST_F(AdmissionTest, PriorityGoesFirstUntilOthersHaveWaitedLonger) {
  Open({.running_max = 1, .priority_step = absl::Seconds(10)});
  auto running = Enter();
  auto patient = Enter(Of("", 0));
  clock_.Advance(absl::Seconds(5));
  auto urgent = Enter(Of("", -1));
  running->slot.Release();
  EXPECT_TRUE(urgent->begun);
  clock_.Advance(absl::Seconds(6));
  auto later = Enter(Of("", -1));  // 11 s of waiting outweigh one step
  urgent->slot.Release();
  EXPECT_TRUE(patient->begun);
  EXPECT_TRUE(later->waiting());
}

TEST_F(AdmissionTest, TheTenantThatWasGivenLessGoesFirst) {
  Open({.running_max = 1});
  outlook_.work_s = 5;
  auto running = Enter(Of("greedy"));
  auto more = Enter(Of("greedy"));
  clock_.Advance(absl::Seconds(1));
  auto modest = Enter(Of("modest"));
  running->slot.Release();
  EXPECT_TRUE(modest->begun);
  EXPECT_TRUE(more->waiting());
}

TEST_F(AdmissionTest, AFullLineOfOneTenantDoesNotKeepAnotherOut) {
  Open({.running_max = 1, .waiting_max = 2});
  outlook_.work_s = 5;
  auto running = Enter(Of("greedy"));
  auto first = Enter(Of("greedy")), second = Enter(Of("greedy")), third = Enter(Of("greedy"));
  EXPECT_TRUE(third->error);
  auto modest = Enter(Of("modest"));
  EXPECT_TRUE(modest->waiting());
  EXPECT_TRUE(first->error || second->error);
  EXPECT_EQ(admission_->waiting(), 2);
  EXPECT_EQ(admission_->count(AdmissionResult::kDisplaced), 1);
}

TEST_F(AdmissionTest, SharesAreForgotten) {
  Open({.running_max = 1});
  outlook_.work_s = 5;
  auto running = Enter(Of("greedy"));
  clock_.Advance(absl::Minutes(10));
  auto first = Enter(Of("greedy"));
  clock_.Advance(absl::Seconds(1));
  auto modest = Enter(Of("modest"));
  running->slot.Release();  // charges ten minutes, the last thing that "greedy" was given
  EXPECT_TRUE(modest->begun);
  clock_.Advance(absl::Minutes(20));
  auto another = Enter(Of("modest"));
  modest->slot.Release();
  EXPECT_TRUE(first->begun);
  EXPECT_TRUE(another->waiting());
}

TEST_F(AdmissionTest, RefusesWith503WhileDraining) {
  Open({});
  EXPECT_FALSE(admission_->CheckServing());
  admission_->StartDraining();
  const auto error = admission_->CheckServing();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->http_status, 503);
}

}  // namespace
}  // namespace baton::router
