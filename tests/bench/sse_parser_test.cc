#include "bench/load/sse_parser.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace baton::bench {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> Parse(const std::vector<std::string>& pieces, bool finish = true) {
  SseParser parser;
  std::vector<std::string> events;
  for (const std::string& piece : pieces) EXPECT_TRUE(parser.Feed(piece, events).ok());
  if (finish) parser.Finish(events);
  return events;
}

TEST(SseParser, AnyCutGivesTheSameEvents) {
  for (const std::string eol : {"\n", "\r\n", "\r"}) {
    const std::string stream = ": keep-alive" + eol + eol + "data: {\"a\": 1}" + eol + eol +
                               "event: x" + eol + "data:two" + eol + "data: lines" + eol + "id: 7" +
                               eol + eol + "data: [DONE]" + eol + eol;
    for (size_t first = 0; first <= stream.size(); ++first) {
      for (size_t second = first; second <= stream.size(); ++second) {
        EXPECT_THAT(Parse({stream.substr(0, first), stream.substr(first, second - first),
                           stream.substr(second)}),
                    ElementsAre("{\"a\": 1}", "two\nlines", "[DONE]"));
      }
    }
  }
}

TEST(SseParser, AnEventWaitsForItsEmptyLineUnlessTheStreamEnds) {
  EXPECT_THAT(Parse({"data: x\n"}, /*finish=*/false), IsEmpty());
  EXPECT_THAT(Parse({"data: x"}), ElementsAre("x"));
  EXPECT_THAT(Parse({"data\n\ndata:\n\n"}), ElementsAre("", ""));
  EXPECT_THAT(Parse({":\n\n\n\nnot a field\n\n"}), IsEmpty());
}

TEST(SseParser, AnEndlessEventIsRefused) {
  SseParser parser;
  std::vector<std::string> events;
  const std::string megabyte(1 << 20, 'x');
  absl::Status status;
  for (int i = 0; i < 20 && status.ok(); ++i) status = parser.Feed(megabyte, events);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace baton::bench
