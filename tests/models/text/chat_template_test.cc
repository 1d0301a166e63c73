#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "models/text/tokenizer.h"
#include "tests/models/text/made_gguf.h"

namespace baton::models::text {
namespace {

using testing::HasSubstr;

// Renders with a model whose template is `source`.
absl::StatusOr<std::string> Render(const std::string& source, const std::string& messages) {
  test::MadeGguf file;
  file.String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", "gpt-2")
      .Strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<s>", "</s>"})
      .Ints("tokenizer.ggml.token_type", {1, 1, 1, 3, 3})
      .Strings("tokenizer.ggml.merges", {"a b"})
      .Uint("tokenizer.ggml.bos_token_id", 3)
      .Uint("tokenizer.ggml.eos_token_id", 4);
  if (!source.empty()) file.String("tokenizer.chat_template", source);
  auto tokenizer = Tokenizer::FromGguf(file.Write());
  if (!tokenizer.ok()) return tokenizer.status();
  return (*tokenizer)->RenderChat(messages, /*add_generation_prompt=*/true);
}

TEST(ChatTemplate, AModelWithoutOneSaysSo) {
  const auto text = Render("", "[]");
  EXPECT_EQ(text.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("no chat template"));
}

TEST(ChatTemplate, ABrokenOneFailsOnlyWhenItIsUsed) {
  const auto text = Render("{% for %}", "[]");
  EXPECT_EQ(text.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("tokenizer.chat_template"));
}

TEST(ChatTemplate, BlocksLeaveNoLinesBehind) {
  EXPECT_EQ(*Render("{{ bos_token }}\n"
                    "{% for m in messages %}\n"
                    "    {% if m.role == 'user' %}\n"
                    "[{{ m['content'].strip() | upper }}]\n"
                    "    {% endif %}\n"
                    "{% endfor %}\n"
                    "{{ eos_token }}",
                    R"([{"role":"user","content":" hi "},{"role":"system","content":"x"}])"),
            "<s>\n[HI]\n</s>");
}

TEST(ChatTemplate, KeysKeepTheirOrder) {
  EXPECT_EQ(
      *Render("{{ messages[0] | tojson }}", R"([{"z":1,"a":[true,null,"é"],"m":{"y":0.5,"b":2}}])"),
      R"({"z": 1, "a": [true, null, "é"], "m": {"y": 0.5, "b": 2}})");
}

TEST(ChatTemplate, TheTemplatesOwnRefusalIsTheMessage) {
  const auto text = Render("{{ raise_exception('roles must alternate') }}", "[]");
  EXPECT_EQ(text.status(), absl::InvalidArgumentError("roles must alternate"));
}

TEST(ChatTemplate, MessagesThatAreNoJsonArrayAreRefused) {
  for (const char* messages : {"", "{", "{}", "[1,", "\"x\"", "[\xFF]"}) {
    EXPECT_EQ(Render("{{ messages }}", messages).status().code(),
              absl::StatusCode::kInvalidArgument)
        << messages;
  }
}

TEST(ChatTemplate, AHostileOneRunsIntoItsBudget) {
  for (const char* source :
       {"{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% set x = 'x' * 1000000 %}{% for a in range(999) %}{{ x }}{% endfor %}",
        "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = [[n.x]] %}{% endfor "
        "%}"}) {
    EXPECT_EQ(Render(source, "[]").status().code(), absl::StatusCode::kResourceExhausted) << source;
  }
}

TEST(ChatTemplate, LongConversationsStayWithinTheBudget) {
  std::string messages = "[";
  for (int i = 0; i < 2000; ++i) messages += R"({"role":"user","content":"x"},)";
  messages.back() = ']';
  const auto text = Render(
      "{% for m in messages %}{% if m.role == 'user' and m.content is string and m.content %}"
      "{{ m.content | trim }}{% endif %}{% endfor %}",
      messages);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, std::string(2000, 'x'));
}

TEST(ChatTemplate, TheDateIsThatOfToday) {
  const auto year = Render("{{ strftime_now('%Y') }}", "[]");
  ASSERT_TRUE(year.ok());
  EXPECT_GE(std::stoi(*year), 2024);
}

}  // namespace
}  // namespace baton::models::text
