// Constraints on the output: which tokens the engine draws, and what it tells the constraint.
#include "engine/token_constraint.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"

namespace baton::engine {
namespace {

// Allows 10, 11, 12, ... in turn, `count` of them, then the end.
class Counting final : public TokenConstraint {
 public:
  Counting(int32_t count, std::vector<int32_t>* told) : count_(count), told_(told) {}

  absl::Status Accept(absl::Span<const int32_t> ids) override {
    for (const int32_t id : ids) {
      if (id != Next()) return absl::InvalidArgumentError(absl::StrCat("against the rule: ", id));
      ++seen_;
      told_->push_back(id);
    }
    return absl::OkStatus();
  }
  absl::Status Allowed(int32_t vocab_size, std::vector<uint32_t>* mask) override {
    if (seen_ == fail_at) return absl::InvalidArgumentError("too complex");
    mask->assign((vocab_size + 31) / 32, 0);
    (*mask)[Next() / 32] |= 1u << (Next() % 32);
    return absl::OkStatus();
  }
  bool IsComplete() const override { return seen_ >= count_; }

  int32_t fail_at = -1;

 private:
  int32_t Next() const { return seen_ < count_ ? 10 + seen_ : kEos; }
  int32_t count_, seen_ = 0;
  std::vector<int32_t>* told_;
};

class TokenConstraintTest : public ::testing::Test {
 protected:
  TokenConstraintTest() : bench_(policy_, 64) { bench_.engine.Start(); }

  std::shared_ptr<RecordingListener> Submit(const Request& request,
                                            std::unique_ptr<TokenConstraint> constraint,
                                            int32_t first_index = 0) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = bench_.next_id++;
    sequence->tokens = request.prompt;
    sequence->prompt_tokens = static_cast<int64_t>(request.prompt.size());
    sequence->sampling = request.sampling;
    sequence->stop = request.stop;
    sequence->first_index = first_index;
    sequence->constraint = std::move(constraint);
    const auto listener = std::make_shared<RecordingListener>();
    sequence->listener = listener;
    EXPECT_TRUE(bench_.engine.Submit(std::move(sequence)).ok());
    return listener;
  }

  fakes::ColocatedPolicy policy_{64, 1024};
  EngineBench bench_;
  std::vector<int32_t> told_;
};

TEST_F(TokenConstraintTest, OnlyAllowedTokensAreDrawnAndTheEndOnlyWhereItIsAllowed) {
  Request request = RequestOf(7, 20);
  request.stop.ignore_eos = false;
  request.sampling.temperature = 1.5;
  AlwaysDraw(kEos, &request);
  const auto listener = Submit(request, std::make_unique<Counting>(4, &told_));
  ASSERT_TRUE(listener->WaitForEnd().ok());
  EXPECT_THAT(listener->ids(), ::testing::ElementsAre(10, 11, 12, 13, kEos));
  EXPECT_EQ(listener->reason(), FinishReason::kStop);
}

TEST_F(TokenConstraintTest, ASequenceThatGoesOnTellsItsEarlierOutputFirst) {
  Request request = RequestOf(7, 20);
  request.stop.ignore_eos = false;
  request.prompt.insert(request.prompt.end(), {10, 11});
  const auto listener = Submit(request, std::make_unique<Counting>(4, &told_), 2);
  ASSERT_TRUE(listener->WaitForEnd().ok());
  EXPECT_THAT(listener->ids(), ::testing::ElementsAre(12, 13, kEos));
  EXPECT_THAT(told_, ::testing::ElementsAre(10, 11, 12, 13));
}

TEST_F(TokenConstraintTest, MinTokensGivesWayWhereNothingButTheEndCanFollow) {
  Request request = RequestOf(7, 20);
  request.stop.ignore_eos = false;
  request.stop.min_tokens = 10;
  const auto listener = Submit(request, std::make_unique<Counting>(2, &told_));
  ASSERT_TRUE(listener->WaitForEnd().ok());
  EXPECT_THAT(listener->ids(), ::testing::ElementsAre(10, 11, kEos));
}

TEST_F(TokenConstraintTest, AConstraintThatFailsEndsOnlyItsSequence) {
  auto failing = std::make_unique<Counting>(9, &told_);
  failing->fail_at = 3;
  const auto other = Submit(RequestOf(7, 8), nullptr);
  const auto listener = Submit(RequestOf(7, 20), std::move(failing));
  EXPECT_EQ(listener->WaitForEnd().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(listener->ids().size(), 3u);
  EXPECT_TRUE(other->WaitForEnd().ok());
  EXPECT_EQ(other->ids().size(), 8u);
}

}  // namespace
}  // namespace baton::engine
