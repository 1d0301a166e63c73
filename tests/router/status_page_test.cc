// The status page, served by the router itself.
#include <regex>
#include <set>

#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using StatusPageTest = RouterFixture;

TEST_F(StatusPageTest, IsAtTheRootAndAllowsNothingFromElsewhere) {
  StartRouter();
  const RawReply page = Fetch("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_NE(page.headers.at("content-security-policy").find("default-src 'self'"),
            std::string::npos);
  EXPECT_EQ(page.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(page.body.find("https://"), std::string::npos) << "works offline";
}

TEST_F(StatusPageTest, EveryFileThatItNamesIsServed) {
  StartRouter();
  const std::regex reference("\"(?:\\./|/web/)([a-z_]+\\.(?:js|css))\"");
  std::set<std::string> seen, waiting = {"/"};
  while (!waiting.empty()) {
    const std::string path = *waiting.begin();
    waiting.erase(waiting.begin());
    if (!seen.insert(path).second) continue;
    const RawReply file = Fetch(path);
    ASSERT_EQ(file.status, 200) << path;
    for (std::sregex_iterator at(file.body.begin(), file.body.end(), reference), end; at != end;
         ++at) {
      waiting.insert("/web/" + (*at)[1].str());
    }
  }
  EXPECT_TRUE(seen.count("/web/app.js") == 1 && seen.count("/web/style.css") == 1);
  EXPECT_GE(seen.size(), 9u);
}

TEST_F(StatusPageTest, ReadsOnlyFamiliesThatTheRouterHas) {
  StartCluster();
  Ask("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2}");
  const std::string metrics = Fetch("/metrics").body;
  const std::regex family("\"((?:baton_|vllm:)[a-z_]+)\"");
  int families = 0;
  for (const char* path : {"/web/charts.js", "/web/cluster.js"}) {
    const std::string script = Fetch(path).body;
    for (std::sregex_iterator at(script.begin(), script.end(), family), end; at != end; ++at) {
      EXPECT_NE(metrics.find("# TYPE " + (*at)[1].str() + " "), std::string::npos) << (*at)[1];
      ++families;
    }
  }
  EXPECT_GT(families, 10);
}

TEST_F(StatusPageTest, DrawsThePhasesAndFieldsThatTheRouterTellsOfARequest) {
  StartCluster();
  Ask("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2}");
  ASSERT_TRUE(
      Eventually([&] { return !Json::parse(Fetch("/debug/requests").body)["ended"].empty(); }));
  const Json told = Json::parse(Fetch("/debug/requests").body);
  const std::string script = Fetch("/web/requests.js").body;
  EXPECT_NE(script.find("{ running, ended }"), std::string::npos);
  const Json& request = told["ended"][0];
  const Json& sequence = request["sequences"][0];
  std::regex phase("\\[\"([a-z_]+)\", \"var");
  size_t phases = 0;
  const size_t begins = script.find("const PHASES = [");
  const std::string drawn = script.substr(begins, script.find("];", begins) - begins);
  for (std::sregex_iterator at(drawn.begin(), drawn.end(), phase), end; at != end; ++at) {
    EXPECT_TRUE(sequence["phases"].contains((*at)[1].str() + "_ms")) << (*at)[1];
    ++phases;
  }
  EXPECT_EQ(phases, sequence["phases"].size());
  std::regex field("\\b(request|sequence)\\.([a-z_]+)\\b");
  for (std::sregex_iterator at(script.begin(), script.end(), field), end; at != end; ++at) {
    EXPECT_TRUE(((*at)[1] == "request" ? request : sequence).contains((*at)[2].str())) << (*at)[0];
  }
}

TEST_F(StatusPageTest, OtherMethodsAre405AndOtherFiles404) {
  StartRouter();
  EXPECT_EQ(Ask("/", "{}").status, 405);
  EXPECT_EQ(Fetch("/web/nothing.js").status, 404);
  EXPECT_EQ(Fetch("/web/../main.cc").status, 404);
}

}  // namespace
}  // namespace baton::router
