#include "server/log_format.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace baton::server {
namespace {

std::string Logged(const std::string& message) {
  std::ostringstream out;
  spdlog::logger logger("baton-\"test\"", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger.set_formatter(JsonLines());
  logger.warn("{}", message);
  return out.str();
}

TEST(JsonLines, StayOneValidObjectWhateverTheMessageHolds) {
  for (const std::string& message :
       {std::string("plain"), std::string("say \"hello\" \\ bye"), std::string("two\nlines\ttab\r"),
        std::string("zero \0 and \x01\x1f", 12), std::string("größer ✓"),
        std::string("{\"level\":\"forged\"}")}) {
    const std::string line = Logged(message);
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["message"], message);
    EXPECT_EQ(json["level"], "warning");
    EXPECT_EQ(json["process"], "baton-\"test\"");
    EXPECT_EQ(json.size(), 4u);
  }
}

TEST(JsonLines, KeepALineValidWhenTheMessageIsNoUtf8) {
  const auto json = nlohmann::json::parse(Logged("bad \xff\xc0 byte"));
  EXPECT_EQ(json["message"], "bad \xEF\xBF\xBD\xEF\xBF\xBD byte");
}

}  // namespace
}  // namespace baton::server
