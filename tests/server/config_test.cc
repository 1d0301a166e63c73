#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "proto/config.pb.h"
#include "server/config_keys.h"
#include "tests/fakes/temp_folder.h"

namespace baton::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// An environment variable for the length of a test.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }

 private:
  const char* name_;
};

absl::Status Read(std::vector<std::string> arguments, google::protobuf::Message& message) {
  CLI::App app;
  AddFlags(app, message);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes a vector
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return absl::UnknownError(error.what());
  }
  return FinishConfig(app, message);
}

TEST(Config, HasTheDefaultsOfTheManual) {
  v1::RouterConfig config;
  ASSERT_TRUE(Read({}, config).ok());
  EXPECT_EQ(config.port(), 8000);
  EXPECT_EQ(config.process().log_level(), "info");
}

TEST(Config, AFlagWinsOverTheEnvironmentItOverTheFileItOverTheDefault) {
  const fakes::TempFolder folder;
  const std::string file = folder.Write(
      "router.textproto", "port: 1001\nhttp_threads: 3\nmax_running: 7\nlog_level: \"debug\"\n");
  const Environment port("BATON_PORT", "1002");
  const Environment threads("BATON_HTTP_THREADS", "4");
  v1::RouterConfig config;
  ASSERT_TRUE(Read({"--config", file, "--port", "1003"}, config).ok());
  EXPECT_EQ(config.port(), 1003);
  EXPECT_EQ(config.http_threads(), 4);
  EXPECT_EQ(config.max_running(), 7);
  EXPECT_EQ(config.process().log_level(), "debug");
  EXPECT_EQ(config.node_timeout_ms(), 1500);
}

TEST(Config, AcceptsTheNestedFormOfAFile) {
  const fakes::TempFolder folder;
  const std::string file = folder.Write("c", "process { log_level: \"warn\" } port: 0");
  v1::RouterConfig config;
  ASSERT_TRUE(Read({"--config", file}, config).ok());
  EXPECT_EQ(config.process().log_level(), "warn");
}

TEST(Config, RefusesAValueOutsideItsRangeByKeyValueAndRange) {
  v1::RouterConfig config;
  const absl::Status flag = Read({"--http-threads", "65"}, config);
  EXPECT_EQ(flag.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(flag.message()),
              AllOf(HasSubstr("http_threads"), HasSubstr("'65'"), HasSubstr("1 to 64")));
  v1::RouterConfig other;
  const absl::Status choice = Read({"--log-level", "loud"}, other);
  EXPECT_THAT(std::string(choice.message()), HasSubstr("debug, info, warn, error"));
  const Environment threads("BATON_HTTP_THREADS", "0");
  v1::RouterConfig environment;
  EXPECT_EQ(Read({}, environment).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Config, RefusesANumberThatIsNone) {
  for (const char* text : {"", "12x", "1e3", "99999999999999999999", "0x10"}) {
    v1::RouterConfig config;
    EXPECT_FALSE(Read({"--port", text}, config).ok()) << text;
  }
  v1::RouterConfig config;
  EXPECT_EQ(Read({"--insecure", "perhaps"}, config).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Config, ABareSwitchMeansTrue) {
  v1::RouterConfig config;
  ASSERT_TRUE(Read({"--insecure", "--port", "5"}, config).ok());
  EXPECT_TRUE(config.process().insecure());
  EXPECT_EQ(config.port(), 5);
  ASSERT_TRUE(Read({"--insecure", "false"}, config).ok());
  EXPECT_FALSE(config.process().insecure());
  const Environment insecure("BATON_INSECURE", "1");
  ASSERT_TRUE(Read({}, config).ok());
  EXPECT_TRUE(config.process().insecure());
}

TEST(Config, HelpSaysWhatEachKeyMeansWhatItMayBeAndItsDefault) {
  v1::RouterConfig config;
  CLI::App app;
  AddFlags(app, config);
  const std::string help = app.help();
  EXPECT_THAT(help, HasSubstr("--http-threads NUMBER=2"));
  EXPECT_THAT(help, HasSubstr("threads of the HTTP server (1 to 64)"));
  EXPECT_THAT(help, HasSubstr("--insecure [BOOL]=false"));
  EXPECT_THAT(help, HasSubstr("BATON_HTTP_THREADS"));
}

TEST(Config, NamesFileAndLineOfAnUnknownKey) {
  const fakes::TempFolder folder;
  const std::string file = folder.Write("c.textproto", "port: 1\nprot: 2\n");
  v1::RouterConfig config;
  const absl::Status status = Read({"--config", file}, config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("c.textproto"), HasSubstr("line 2"), HasSubstr("prot")));
}

TEST(Config, NamesAFileThatIsNotThereOrDoesNotParse) {
  const fakes::TempFolder folder;
  v1::RouterConfig config;
  const absl::Status missing = Read({"--config", folder.path() + "/none"}, config);
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/none"));
  const absl::Status broken =
      Read({"--config", folder.Write("broken", "port: \"text\"\n")}, config);
  EXPECT_EQ(broken.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(broken.message()), HasSubstr("line 1"));
}

// The three processes of a local cluster, configured at once.
struct Processes {
  v1::RouterConfig router;
  v1::PrefillConfig prefill;
  v1::DecodeConfig decode;
  std::vector<google::protobuf::Message*> all() { return {&router, &prefill, &decode}; }
};

absl::Status ReadAll(std::vector<std::string> arguments, Processes& processes) {
  CLI::App app;
  AddFlags(app, processes.all());
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return FinishConfig(app, processes.all());
}

TEST(Config, AKeyOfSeveralProcessesIsSetInEachThatHasIt) {
  const fakes::TempFolder folder;
  const std::string file =
      folder.Write("all", "max_batch: 5\nscheduler { queue_weight: 3 }\nlog_level: \"warn\"\n");
  Processes processes;
  ASSERT_TRUE(ReadAll({"--config", file, "--model", "m", "--max-model-len", "7"}, processes).ok());
  EXPECT_EQ(processes.router.model(), "m");
  EXPECT_EQ(processes.prefill.node().model(), "m");
  EXPECT_EQ(processes.decode.node().max_context(), 7);
  EXPECT_EQ(processes.decode.max_batch(), 5);
  EXPECT_EQ(processes.router.scheduler().queue_weight(), 3);
  EXPECT_EQ(processes.prefill.process().log_level(), "warn");
}

TEST(Config, AFileForSeveralProcessesStillHasNoUnknownKeys) {
  const fakes::TempFolder folder;
  for (const char* text : {"max_batsh: 5\n", "port: 1\nscheduler { queue_wait: 3 }\n"}) {
    Processes processes;
    const absl::Status status = ReadAll({"--config", folder.Write("all", text)}, processes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(Config, WhatIsSetCanBeGivenToAnotherProcess) {
  v1::RouterConfig config;
  ASSERT_TRUE(
      Read({"--port", "0", "--insecure", "--log-level", "warn", "--certs", ""}, config).ok());
  v1::RouterConfig other;
  ASSERT_TRUE(Read(FlagsOf(config), other).ok());
  EXPECT_EQ(other.DebugString(), config.DebugString());
  EXPECT_EQ(other.port(), 0);
}

TEST(Config, EveryKeyIsDocumentedWithARangeForEachNumber) {
  Processes processes;
  for (google::protobuf::Message* message : processes.all()) {
    for (const Key& key : KeysOf(*message)) {
      const KeyDoc doc = DocOf(key);
      EXPECT_GT(doc.help.size(), 8u) << doc.name;
      EXPECT_TRUE(doc.type != "number" || !doc.allowed.empty()) << doc.name;
      EXPECT_TRUE(CheckRange(key).ok()) << doc.name;
    }
  }
}

}  // namespace
}  // namespace baton::server
