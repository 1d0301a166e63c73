// Chats with tools, Responses and Messages over real sockets, with nodes that say what they are
// told.
#include "router/api/dialects.h"

#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

constexpr char kCall[] =
    "Let me look. <tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": \"Rome\"}}\n"
    "</tool_call>";
constexpr char kChatTools[] =
    R"("tools":[{"type":"function","function":{"name":"get","description":"d",
        "parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}])";

class DialectsTest : public RouterFixture {
 protected:
  Json Post(const std::string& path, const std::string& body, int status = 200) {
    const RawReply reply = Ask(path, body);
    EXPECT_EQ(reply.status, status) << reply.body;
    return Json::parse(reply.body, nullptr, false);
  }
  // The prompt of the latest request, as text.
  std::string Prompt() {
    const v1::PrefillRequest request = prefill->prefill_requests().back();
    const std::vector<int32_t> ids(request.prompt().begin(), request.prompt().end());
    return *router->context().tokenizer.Decode(ids, false);
  }
  // The data of a stream's events; `names` gets what stands behind "event: ".
  std::vector<Json> Stream(const std::string& path, const std::string& body,
                           std::vector<std::string>* names) {
    const RawReply reply = Ask(path, body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    std::vector<Json> events;
    size_t at = 0;
    while (at < reply.body.size()) {
      const size_t end = reply.body.find('\n', at);
      const std::string line = reply.body.substr(at, end - at);
      if (line.rfind("event: ", 0) == 0) names->push_back(line.substr(7));
      if (line.rfind("data: {", 0) == 0) events.push_back(Json::parse(line.substr(6)));
      at = end == std::string::npos ? reply.body.size() : end + 1;
    }
    return events;
  }
};

constexpr char kChat[] = R"({"messages":[{"role":"user","content":"Weather?"}],)";

TEST_F(DialectsTest, AChatWithToolsTellsThemToTheModelAndReadsTheCalls) {
  StartCluster(kCall);
  const Json body = Post("/v1/chat/completions", std::string(kChat) + kChatTools + "}");
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["content"], "Let me look.");
  const Json& call = choice["message"]["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_EQ(call["function"]["name"], "get");
  EXPECT_EQ(call["function"]["arguments"], "{\"city\": \"Rome\"}");
  EXPECT_EQ(call["id"].get<std::string>().rfind("call_", 0), 0u);
  EXPECT_NE(Prompt().find("\"name\":\"get\""), std::string::npos) << Prompt();
}

TEST_F(DialectsTest, StreamedCallsComeAsANameAndPiecesOfArguments) {
  StartCluster(kCall);
  std::vector<std::string> names;
  std::string content, name, id, arguments, finish;
  for (const Json& event : Stream("/v1/chat/completions",
                                  std::string(kChat) + kChatTools + ",\"stream\":true}", &names)) {
    const Json& choice = event["choices"][0];
    const Json& delta = choice["delta"];
    content += delta.value("content", "");
    if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
    if (!delta.contains("tool_calls")) continue;
    const Json& call = delta["tool_calls"][0];
    EXPECT_EQ(call["index"], 0);
    id += call.value("id", "");
    name += call["function"].value("name", "");
    arguments += call["function"]["arguments"];
  }
  EXPECT_EQ(content, "Let me look.");
  EXPECT_EQ(name, "get");
  EXPECT_EQ(id.size(), 28u);
  EXPECT_EQ(arguments, "{\"city\": \"Rome\"}");
  EXPECT_EQ(finish, "tool_calls");
}

TEST_F(DialectsTest, WithoutToolsACallIsText) {
  StartCluster(kCall);
  for (const std::string& tools :
       {std::string("\"n\":1"), std::string(kChatTools) + ",\"tool_choice\":\"none\""}) {
    const Json body = Post("/v1/chat/completions", kChat + tools + "}");
    EXPECT_EQ(body["choices"][0]["message"]["content"], kCall);
    EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  }
}

TEST_F(DialectsTest, RequiredAndNamedCallsAreHeldToAGrammar) {
  StartCluster("x");
  for (const char* choice : {"\"required\"", R"({"type":"function","function":{"name":"get"}})"}) {
    Post("/v1/chat/completions",
         std::string(kChat) + kChatTools + ",\"tool_choice\":" + choice + "}");
    const v1::Grammar grammar = prefill->prefill_requests().back().sampling().grammar();
    EXPECT_EQ(grammar.kind(), v1::Grammar::LARK);
    EXPECT_NE(grammar.source().find("<tool_call>"), std::string::npos);
  }
  Post("/v1/chat/completions", std::string(kChat) + kChatTools + "}");
  EXPECT_FALSE(prefill->prefill_requests().back().sampling().has_grammar());
}

TEST_F(DialectsTest, TheHistoryOfCallsIsShownToTheModel) {
  StartCluster("x");
  Post("/v1/chat/completions",
       R"({"messages":[{"role":"user","content":"Weather?"},
           {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
            "function":{"name":"get","arguments":"{\"city\":\"Rome\"}"}}]},
           {"role":"tool","tool_call_id":"c1","content":"sunny"}]})");
  EXPECT_NE(Prompt().find("<tool_call>\n{\"name\":\"get\",\"arguments\":{\"city\":\"Rome\"}}"),
            std::string::npos)
      << Prompt();
  EXPECT_NE(Prompt().find("<tool_response>\nsunny"), std::string::npos);
}

TEST_F(DialectsTest, WrongToolsAreRefusedByName) {
  StartCluster("x");
  const std::pair<const char*, const char*> cases[] = {
      {"tools", R"("tools":[])"},
      {"tools", R"("tools":{})"},
      {"tools[0]", R"("tools":[{"type":"web"}])"},
      {"tools[0].function", R"("tools":[{"type":"function"}])"},
      {"tools[0].function.name", R"("tools":[{"type":"function","function":{"name":"a b"}}])"},
      {"tools[0].function.parameters",
       R"("tools":[{"type":"function","function":{"name":"a","parameters":1}}])"},
      {"tool_choice", R"("tool_choice":"auto")"},
      {"tool_choice", R"("tools":[{"type":"function","function":{"name":"a"}}],
                         "tool_choice":{"type":"function","function":{"name":"b"}})"},
      {"tool_choice", R"("tools":[{"type":"function","function":{"name":"a"}}],
                         "tool_choice":"some")"},
      {"parallel_tool_calls", R"("parallel_tool_calls":1)"},
      {"tools", R"("tools":[{"type":"function","function":{"name":"a","strict":true,
                    "parameters":{"type":"object","properties":{"a":{"type":"oops"}}}}}])"},
      {"tools[0].function.parameters.type",
       R"("tools":[{"type":"function","function":{"name":"a","parameters":{"type":"string"}}}])"},
      {"tool_choice", R"("tools":[{"type":"function","function":{"name":"a"}}],
                         "tool_choice":"required","response_format":{"type":"json_object"})"}};
  for (const auto& [param, fields] : cases) {
    const Json body = Post("/v1/chat/completions", std::string(kChat) + fields + "}", 400);
    EXPECT_EQ(body["error"]["param"], param) << fields << body;
  }
}

TEST_F(DialectsTest, ReasoningIsApartFromTheAnswer) {
  config.set_reasoning_parser("think");
  StartCluster("<think>\nHm.\n</think>\n\nYes.");
  const Json body = Post("/v1/chat/completions", std::string(kChat) + "\"n\":1}");
  const Json& message = body["choices"][0]["message"];
  EXPECT_EQ(message["content"], "Yes.");
  EXPECT_EQ(message["reasoning_content"], "Hm.");
  EXPECT_EQ(message["reasoning"], "Hm.");
  EXPECT_GT(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 5);
  const Json quiet =
      Post("/v1/chat/completions", std::string(kChat) + "\"include_reasoning\":false}");
  EXPECT_FALSE(quiet["choices"][0]["message"].contains("reasoning"));
  EXPECT_EQ(quiet["choices"][0]["message"]["content"], "Yes.");
}

TEST_F(DialectsTest, AGrammarHoldsTheAnswerAndNotTheReasoning) {
  config.set_reasoning_parser("think");
  StartCluster("x");
  Post("/v1/chat/completions", std::string(kChat) + "\"guided_regex\":\"a+\"}");
  const std::string source = prefill->prefill_requests().back().sampling().grammar().source();
  EXPECT_NE(source.find("</think>"), std::string::npos) << source;
}

TEST_F(DialectsTest, AResponseHasItsItems) {
  config.set_reasoning_parser("think");
  StartCluster(std::string("<think>Hm.</think>") + kCall);
  const Json body = Post("/v1/responses",
                         R"({"model":"tiny","instructions":"Be short.","store":true,"input":[
          {"role":"user","content":[{"type":"input_text","text":"Weather?"}]}],
          "tools":[{"type":"web_search"},{"type":"function","name":"get",
                    "parameters":{"type":"object"},"strict":false}],
          "include":["reasoning.encrypted_content"],"prompt_cache_key":"k"})");
  EXPECT_EQ(body["object"], "response");
  EXPECT_EQ(body["status"], "completed");
  EXPECT_EQ(body["instructions"], "Be short.");
  ASSERT_EQ(body["output"].size(), 3u);
  EXPECT_EQ(body["output"][0]["content"][0]["text"], "Hm.");
  EXPECT_EQ(body["output"][1]["content"][0]["text"], "Let me look.");
  EXPECT_EQ(body["output"][2]["name"], "get");
  EXPECT_EQ(body["output"][2]["arguments"], "{\"city\": \"Rome\"}");
  EXPECT_NE(Prompt().find("Be short."), std::string::npos);
  EXPECT_GT(body["usage"]["input_tokens"], 0);
}

TEST_F(DialectsTest, TheEventsOfAResponseComeInOrder) {
  StartCluster(kCall);
  std::vector<std::string> names;
  const std::vector<Json> events = Stream(
      "/v1/responses",
      R"({"input":"Weather?","stream":true,"tools":[{"type":"function","name":"get"}]})", &names);
  std::vector<std::string> order;
  for (const std::string& name : names) {
    if (order.empty() || order.back() != name) order.push_back(name);
  }
  EXPECT_EQ(
      order,
      (std::vector<std::string>{
          "response.created", "response.in_progress", "response.output_item.added",
          "response.content_part.added", "response.output_text.delta", "response.output_text.done",
          "response.content_part.done", "response.output_item.done", "response.output_item.added",
          "response.function_call_arguments.delta", "response.function_call_arguments.done",
          "response.output_item.done", "response.completed"}));
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i]["sequence_number"], i);
    EXPECT_EQ(events[i]["type"], names[i]);
  }
}

TEST_F(DialectsTest, AResponseHasLogprobsOfItsText) {
  config.set_reasoning_parser("think");
  StartCluster("<think>Hm.</think>Yes.");
  for (const std::string& ask : {std::string(R"("top_logprobs":1)"),
                                 std::string(R"("include":["message.output_text.logprobs"])")}) {
    std::vector<std::string> names;
    const std::vector<Json> events =
        Stream("/v1/responses", R"({"input":"x","stream":true,)" + ask + "}", &names);
    std::string told;
    size_t entries = 0;
    for (const Json& event : events) {
      if (event["type"] == "response.output_text.delta") entries += event["logprobs"].size();
    }
    const Json& part = events.back()["response"]["output"][1]["content"][0];
    for (const Json& entry : part["logprobs"]) told += entry["token"].get<std::string>();
    EXPECT_EQ(told, "Yes.");
    EXPECT_EQ(entries, 4u);
    EXPECT_LT(part["logprobs"][0]["logprob"], 0);
    EXPECT_EQ(part["logprobs"][0]["bytes"], Json({'Y'}));
    EXPECT_TRUE(part["logprobs"][0]["top_logprobs"].is_array());
  }
  const Json plain = Post("/v1/responses", R"({"input":"x"})");
  EXPECT_EQ(plain["output"][1]["content"][0]["logprobs"], Json::array());
}

TEST_F(DialectsTest, WhatAResponseCannotDoIsRefusedByName) {
  StartCluster("x");
  const std::pair<const char*, const char*> cases[] = {
      {"input", "{}"},
      {"input", R"({"input":1})"},
      {"input[0].role", R"({"input":[{"role":"robot","content":"x"}]})"},
      {"input[0].content[0]", R"({"input":[{"role":"user","content":[{"type":"input_image"}]}]})"},
      {"input[0]", R"({"input":[{"type":"item_reference","id":"x"}]})"},
      {"input[0].type", R"({"input":[{"type":1,"role":"user","content":"x"}]})"},
      {"tools[0].type", R"({"input":"x","tools":[{"type":{},"name":"a"}]})"},
      {"include", R"({"input":"x","include":1})"},
      {"top_logprobs", R"({"input":"x","top_logprobs":21})"},
      {"store", R"({"input":"x","store":1})"},
      {"previous_response_id", R"({"input":"x","previous_response_id":"resp_1"})"},
      {"background", R"({"input":"x","background":true})"},
      {"max_output_tokens", R"({"input":"x","max_output_tokens":0})"},
      {"text.format.type", R"({"input":"x","text":{"format":{"type":"xml"}}})"},
      {"temperature", R"({"input":"x","temperature":9})"}};
  for (const auto& [param, text] : cases) {
    EXPECT_EQ(Post("/v1/responses", text, 400)["error"]["param"], param) << text;
  }
}

constexpr char kMessage[] =
    R"({"model":"tiny","max_tokens":200,"system":[{"type":"text","text":"Be short.",
        "cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"Weather?"}])";
constexpr char kMessageTools[] =
    R"(,"tools":[{"name":"get","input_schema":{"type":"object"}},{"type":"bash_20250124","name":"bash"}])";

TEST_F(DialectsTest, AMessageHasItsBlocks) {
  StartCluster(kCall);
  const Json body = Post("/v1/messages?beta=true", std::string(kMessage) + kMessageTools + "}");
  EXPECT_EQ(body["type"], "message");
  EXPECT_EQ(body["stop_reason"], "tool_use");
  EXPECT_EQ(body["content"][0]["text"], "Let me look.");
  EXPECT_EQ(body["content"][1]["name"], "get");
  EXPECT_EQ(body["content"][1]["input"]["city"], "Rome");
  EXPECT_NE(Prompt().find("Be short."), std::string::npos);
}

TEST_F(DialectsTest, TheEventsOfAMessageComeInOrder) {
  StartCluster(kCall);
  std::vector<std::string> names;
  const std::vector<Json> events =
      Stream("/v1/messages", std::string(kMessage) + kMessageTools + ",\"stream\":true}", &names);
  std::vector<std::string> order;
  for (const std::string& name : names) {
    if (order.empty() || order.back() != name) order.push_back(name);
  }
  EXPECT_EQ(order, (std::vector<std::string>{
                       "message_start", "content_block_start", "content_block_delta",
                       "content_block_stop", "content_block_start", "content_block_delta",
                       "content_block_stop", "message_delta", "message_stop"}));
  EXPECT_GT(events[0]["message"]["usage"]["input_tokens"], 0);
  EXPECT_EQ(events[events.size() - 2]["delta"]["stop_reason"], "tool_use");
}

TEST_F(DialectsTest, ErrorsOfMessagesHaveAnthropicsShape) {
  StartCluster("x");
  const Json missing = Post("/v1/messages", R"({"model":"tiny","messages":[]})", 400);
  EXPECT_EQ(missing["type"], "error");
  EXPECT_EQ(missing["error"]["type"], "invalid_request_error");
  const Json unknown =
      Post("/v1/messages",
           R"({"model":"x","max_tokens":5,"messages":[{"role":"user","content":"a"}]})", 404);
  EXPECT_EQ(unknown["error"]["type"], "not_found_error");
}

TEST_F(DialectsTest, AMessageWithoutTextIsOneNevertheless) {
  StartCluster("x");
  for (const char* content : {R"("")", R"([{"type":"text","text":""}])"}) {
    const std::string body = std::string(R"({"model":"tiny","max_tokens":5,"messages":[)") +
                             R"({"role":"user","content":)" + content + "}]}";
    Post("/v1/messages", body);
    EXPECT_GT(Post("/v1/messages/count_tokens", body)["input_tokens"], 0);
  }
}

TEST_F(DialectsTest, WrongMessagesAreRefusedByName) {
  StartCluster("x");
  const auto content = [](const std::string& role, const std::string& blocks) {
    return R"("messages":[{"role":")" + role + R"(","content":)" + blocks + "}]";
  };
  const std::string user = R"("messages":[{"role":"user","content":"a"}],)";
  const std::pair<std::string, std::string> cases[] = {
      {"messages[0].content", content("user", "[]")},
      {"messages[0].content[0].text", content("user", R"([{"type":"text","text":1}])")},
      {"messages[0].content[0].tool_use_id", content("user", R"([{"type":"tool_result"}])")},
      {"messages[0].content[0].thinking", content("assistant", R"([{"type":"thinking"}])")},
      {"messages[0].content[0].input",
       content("assistant", R"([{"type":"tool_use","id":"1","name":"a","input":"b"}])")},
      {"metadata", user + R"("metadata":[])"},
      {"stop_sequences", user + R"("stop_sequences":"a")"},
      {"tools[0].input_schema", user + R"("tools":[{"name":"a","input_schema":null}])"},
      {"tools[0].input_schema", user + R"("tools":[{"name":"a"}])"},
      {"tools[0].input_schema.type",
       user + R"("tools":[{"name":"a","input_schema":{"type":"array"}}])"}};
  for (const auto& [field, fields] : cases) {
    const Json body =
        Post("/v1/messages", R"({"model":"tiny","max_tokens":5,)" + fields + "}", 400);
    EXPECT_NE(body["error"]["message"].get<std::string>().find("'" + field + "'"),
              std::string::npos)
        << fields << body;
  }
}

TEST_F(DialectsTest, TokensAreCountedAsTheyWouldBeSent) {
  StartCluster("x");
  const Json count = Post("/v1/messages/count_tokens", std::string(kMessage) + kMessageTools + "}");
  Post("/v1/messages", std::string(kMessage) + kMessageTools + "}");
  EXPECT_EQ(count["input_tokens"], prefill->prefill_requests().back().prompt_size());
}

TEST_F(DialectsTest, PathsWorkWithoutTheirVersion) {
  StartCluster("x");
  EXPECT_EQ(Fetch("/models").body, Fetch("/v1/models").body);
  EXPECT_EQ(Fetch("/models/tiny").status, 200);
  Post("/chat/completions", std::string(kChat) + "\"n\":1}");
  Post("/completions", R"({"prompt":"x"})");
  Post("/responses", R"({"input":"x"})");
  EXPECT_EQ(Fetch("/v1/health").status, 404);
}

}  // namespace
}  // namespace baton::router
