#include "bench/load/answer_stream.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/bench/fake_server.h"

namespace baton::bench {
namespace {

using test::FinishEvent;
using test::TextEvent;
using test::UsageEvent;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kDone[] = "data: [DONE]\n\n";

class AnswerStreamTest : public testing::Test {
 protected:
  AnswerStreamTest() { record_.sent_s = 10; }
  absl::Status Feed(const std::string& bytes, double now_s) { return answer_.Feed(bytes, now_s); }

  RequestRecord record_;
  AnswerStream answer_{record_};
};

TEST_F(AnswerStreamTest, TimesAndTokensOfACompletion) {
  EXPECT_TRUE(Feed(TextEvent("a"), 10.1).ok());
  EXPECT_TRUE(Feed(TextEvent("") + TextEvent("b"), 10.3).ok());
  EXPECT_TRUE(Feed(FinishEvent(), 10.4).ok());
  EXPECT_TRUE(Feed(UsageEvent(7, 4) + kDone, 10.5).ok());
  EXPECT_TRUE(answer_.done());
  EXPECT_TRUE(answer_.Finish(10.6).ok());
  EXPECT_EQ(record_.text, "ab");
  EXPECT_NEAR(record_.ttft_s, 0.1, 1e-9);
  EXPECT_NEAR(record_.ttst_s, 0.3, 1e-9);
  EXPECT_THAT(record_.itl_s, ElementsAre(DoubleNear(0.2, 1e-9), DoubleNear(0, 1e-9)));
  EXPECT_NEAR(record_.e2el_s(), 0.4, 1e-9);
  EXPECT_EQ(record_.prompt_tokens, 7);
  EXPECT_EQ(record_.output_tokens, 4);
  EXPECT_FALSE(record_.tokens_estimated);
}

TEST_F(AnswerStreamTest, ARoleAloneIsNoToken) {
  EXPECT_TRUE(
      Feed("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n", 10.01)
          .ok());
  EXPECT_TRUE(
      Feed("data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n", 10.2).ok());
  EXPECT_TRUE(
      Feed("data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n",
           10.3)
          .ok());
  EXPECT_TRUE(Feed(kDone, 10.3).ok());
  EXPECT_TRUE(answer_.Finish(10.3).ok());
  EXPECT_NEAR(record_.ttft_s, 0.2, 1e-9);
  EXPECT_EQ(record_.text, "hmx");
  EXPECT_EQ(record_.output_tokens, 2);
  EXPECT_TRUE(record_.tokens_estimated) << "there was no usage";
}

TEST_F(AnswerStreamTest, AnAnswerThatEndsAtOnceHasOneTime) {
  EXPECT_TRUE(Feed(FinishEvent() + UsageEvent(3, 1) + kDone, 10.2).ok());
  EXPECT_TRUE(answer_.Finish(10.2).ok());
  EXPECT_NEAR(record_.ttft_s, 0.2, 1e-9);
  EXPECT_NEAR(record_.e2el_s(), 0.2, 1e-9);
  EXPECT_EQ(record_.ttst_s, -1);
  EXPECT_EQ(record_.tpot_s(), 0);
}

TEST_F(AnswerStreamTest, AServerMayLeaveOutDoneButNotTheEnd) {
  EXPECT_TRUE(Feed(TextEvent("a"), 10.1).ok());
  EXPECT_THAT(std::string(answer_.Finish(10.2).message()), HasSubstr("ended after 1 token chunks"));
  EXPECT_TRUE(Feed(FinishEvent(), 10.2).ok());
  EXPECT_TRUE(answer_.Finish(10.2).ok());
}

TEST_F(AnswerStreamTest, AnErrorInTheStreamIsOne) {
  EXPECT_TRUE(Feed(TextEvent("a"), 10.1).ok());
  EXPECT_THAT(
      std::string(Feed("data: {\"error\":{\"message\":\"node died\"}}\n\n", 10.2).message()),
      HasSubstr("node died"));
}

TEST_F(AnswerStreamTest, ABodyThatIsNoStreamIsRefused) {
  EXPECT_FALSE(Feed("data: hello\n\n", 10.1).ok());
  EXPECT_FALSE(answer_.Finish(10.2).ok());
}

TEST_F(AnswerStreamTest, OddTypesAreNoCrash) {
  for (const char* event :
       {R"({"choices":[1]})", R"({"choices":[{"delta":[]}]})", R"({"choices":[{"text":5}]})",
        R"({"choices":{}})", R"({"usage":{"completion_tokens":"x"}})",
        R"({"usage":{"completion_tokens":1,"prompt_tokens":[]}})"}) {
    EXPECT_TRUE(Feed(std::string("data: ") + event + "\n\n", 10.1).ok()) << event;
  }
}

}  // namespace
}  // namespace baton::bench
