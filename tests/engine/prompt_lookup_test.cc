// Speculation by prompt lookup: the same output, in fewer steps where text repeats itself.
#include "engine/prompt_lookup.h"

#include <atomic>

#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"

namespace baton::engine {
namespace {

using fakes::ColocatedPolicy;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(LookUpDraft, GivesWhatFollowedTheLatestLongestMatch) {
  //                                0  1  2  3  4  5  6  7  8  9
  const std::vector<int32_t> text = {1, 2, 3, 9, 5, 2, 3, 8, 2, 3};
  EXPECT_THAT(LookUpDraft(text, 4, 2, 4), ElementsAre(8, 2, 3, 8));
  EXPECT_THAT(LookUpDraft(text, 4, 2, 1), ElementsAre(8));
  const std::vector<int32_t> longer = {1, 2, 3, 9, 5, 2, 3, 8, 1, 2, 3};
  EXPECT_THAT(LookUpDraft(longer, 4, 2, 2), ElementsAre(9, 5)) << "three tokens match at 0";
}

TEST(LookUpDraft, GivesNothingWithoutAMatchOrWithoutRoom) {
  const std::vector<int32_t> text = {1, 2, 3, 4, 5};
  EXPECT_THAT(LookUpDraft(text, 4, 2, 4), IsEmpty());
  EXPECT_THAT(LookUpDraft({}, 4, 2, 4), IsEmpty());
  const std::vector<int32_t> same = {7, 7, 7};
  EXPECT_THAT(LookUpDraft(same, 4, 2, 0), IsEmpty());
  EXPECT_THAT(LookUpDraft(same, 4, 2, 5), ElementsAre(7, 7, 7, 7, 7));
}

TEST(DraftLength, GrowsWhileAllIsKeptAndPausesLongerAfterEachFailure) {
  DraftLength length;
  EXPECT_EQ(length.Next(64), 3);
  length.Learn(3, 3);
  EXPECT_EQ(length.Next(64), 6);
  EXPECT_EQ(length.Next(4), 4);
  int pauses[8] = {};
  for (int& pause : pauses) {
    length.Learn(3, 0);
    while (length.Next(64) == 0) ++pause;
  }
  EXPECT_THAT(pauses, ElementsAre(2, 4, 8, 16, 32, 64, 64, 64));
  length.Learn(3, 1);
  EXPECT_EQ(length.Next(64), 2);
}

// Forwards that `request` takes, and its output, with drafts of at most `drafts` tokens.
struct Outcome {
  std::vector<int32_t> ids;
  int forwards = 0;
};
Outcome RunWith(int32_t drafts, const Request& request, FinishReason reason = FinishReason::kLength,
                int32_t blocks = 64, bool prefix_cache = false) {
  ColocatedPolicy policy(64, 1024);
  EngineBench bench(policy, blocks, 256, 64, 1024, prefix_cache, drafts);
  std::atomic<int> forwards{0};
  bench.model.before_forward = [&](const models::ForwardBatch&) {
    ++forwards;
    return absl::OkStatus();
  };
  bench.engine.Start();
  Outcome outcome;
  outcome.ids = bench.Run(request, reason);
  outcome.forwards = forwards;
  EXPECT_TRUE(bench.AllFree());
  EXPECT_EQ(bench.engine.stats().tokens_drawn, static_cast<int64_t>(outcome.ids.size()));
  return outcome;
}

TEST(Speculation, ChangesNoTokenWhateverTheSampling) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    Request request = RequestOf(40 + static_cast<int64_t>(seed), 60, seed);
    request.sampling.temperature = seed % 3 == 0 ? 0.0 : 0.9;
    if (seed % 4 == 0) request.sampling.frequency_penalty = 0.7;
    if (seed % 5 == 0) request.sampling.logprobs = true;
    // Few tokens come at all, so that what stood before often comes again, and often does not.
    const int32_t likely = static_cast<int32_t>(1 + seed % 4);
    for (int32_t i = 0; i < likely; ++i) request.sampling.logit_bias.push_back({30 + i, 40.0f});
    const Outcome plain = RunWith(0, request);
    for (const int32_t drafts : {1, 4, 16}) {
      EXPECT_EQ(RunWith(drafts, request).ids, plain.ids) << "seed " << seed << ", " << drafts;
      EXPECT_EQ(RunWith(drafts, request, FinishReason::kLength, 64, true).ids, plain.ids);
    }
  }
}

TEST(Speculation, TakesFewerStepsWhereTextRepeatsItself) {
  Request request = RequestOf(10, 100);
  AlwaysDraw(40, &request);
  const Outcome plain = RunWith(0, request);
  const Outcome drafted = RunWith(8, request);
  EXPECT_EQ(drafted.ids, plain.ids);
  EXPECT_EQ(plain.forwards, 100);
  EXPECT_LT(drafted.forwards, 25);
}

TEST(Speculation, NothingComesAfterTheEndOfASequence) {
  Request request = RequestOf(10, 23);
  AlwaysDraw(40, &request);
  EXPECT_EQ(RunWith(16, request).ids, std::vector<int32_t>(23, 40));
  request.stop.stop_token_ids = {40};
  request.stop.min_tokens = 9;  // then something else is drawn first, and 40 ends it
  EXPECT_EQ(RunWith(16, request, FinishReason::kStop).ids,
            RunWith(0, request, FinishReason::kStop).ids);
}

TEST(Speculation, DoesWithoutDraftsWhereThePoolIsFull) {
  Request request = RequestOf(10, 22);  // two blocks of 16 are all that there is
  AlwaysDraw(40, &request);
  EXPECT_EQ(RunWith(16, request, FinishReason::kLength, 2).ids, std::vector<int32_t>(22, 40));
}

TEST(Speculation, IsLeftOutForASequenceThatDoesNotWantIt) {
  ColocatedPolicy policy(64, 1024);
  EngineBench bench(policy, 64, 256, 64, 1024, false, 8);
  auto sequence = std::make_unique<Sequence>();
  const Request request = RequestOf(10, 50);
  sequence->tokens = request.prompt;
  sequence->prompt_tokens = 10;
  sequence->sampling = request.sampling;
  sequence->sampling.logit_bias = {{40, 100.0f}};
  sequence->stop = request.stop;
  sequence->speculate = false;
  const auto listener = std::make_shared<RecordingListener>();
  sequence->listener = listener;
  bench.engine.Start();
  ASSERT_TRUE(bench.engine.Submit(std::move(sequence)).ok());
  EXPECT_TRUE(listener->WaitForEnd().ok());
  EXPECT_EQ(bench.engine.stats().tokens_drafted, 0);
}

}  // namespace
}  // namespace baton::engine
