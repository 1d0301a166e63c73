#include "cli/child_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace baton::cli {
namespace {

std::string Written(bool json, bool terminal,
                    const std::vector<std::pair<std::string, std::string>>& lines) {
  std::FILE* file = std::tmpfile();
  {
    ChildLog log(json, terminal, file);
    for (const auto& [child, line] : lines) log.Write(child, line);
  }
  std::rewind(file);
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  return text;
}

TEST(ChildLog, PutsTheChildsNameBeforeItsLine) {
  EXPECT_EQ(Written(false, false, {{"router", "stopped"}, {"prefill-0", "loading m: 10 %"}}),
            "router    | stopped\nprefill-0 | loading m: 10 %\n");
}

TEST(ChildLog, JsonLinesKeepTheirFieldsAndOtherTextBecomesTheMessage) {
  EXPECT_EQ(JsonLogLine("d0", R"({"level":"info","message":"x"})"),
            R"({"child":"d0","level":"info","message":"x"})");
  EXPECT_EQ(JsonLogLine("d0", "a \"b\" \xff"),
            "{\"child\":\"d0\",\"message\":\"a \\\"b\\\" \ufffd\"}");
  EXPECT_EQ(JsonLogLine("d0", "12"), R"({"child":"d0","message":"12"})");
}

TEST(ChildLog, DrawsOneBarForEachChildThatLoadsOnATerminal) {
  const std::string text =
      Written(false, true,
              {{"p", "loading m: 50 %"}, {"d", "loading m: 100 %"}, {"p", "loading m: 100 %"}});
  EXPECT_NE(text.find("p [============            ] 50 %"), std::string::npos) << text;
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

TEST(ChildLog, ALineBetweenDoesNotMixWithTheBar) {
  const std::string text = Written(false, true, {{"p", "loading m: 50 %"}, {"r", "hello"}});
  EXPECT_NE(text.find("\r\033[Kr         | hello\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace baton::cli
