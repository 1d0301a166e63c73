#include "router/api/turn_grammar.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "models/text/grammar.h"
#include "router/json_text.h"

namespace baton::router {
namespace {

constexpr absl::string_view kSomeText = "/(?s:.+)/";  // at least a character
constexpr absl::string_view kHermesMark = "<tool_call>";
constexpr size_t kTailTokens = 16;

std::string Quoted(absl::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', /*ensure_ascii=*/false);
}

// Pieces of Lark for one model.
class TurnLark {
 public:
  TurnLark(const TurnFormat& format, const models::text::Tokenizer& tokenizer)
      : format_(format), tokenizer_(tokenizer) {}

  // A mark: its token where it is a control token, otherwise its text.
  std::string Mark(absl::string_view mark) const {
    const auto ids = tokenizer_.Encode(mark, /*parse_special=*/true, /*add_bos=*/false);
    if (ids.ok() && ids->size() == 1 && tokenizer_.IsSpecial(ids->front())) {
      return absl::StrCat("<[", ids->front(), "]>");
    }
    return Quoted(mark);
  }

  // Text up to a mark, the mark included.
  std::string UpTo(absl::string_view rule, absl::string_view mark) const {
    const std::string end = Mark(mark);
    if (end[0] == '<') return absl::StrCat(rule, ": ", kSomeText, "? ", end, "\n");
    return absl::StrCat(rule, "[lazy]: /(?s:.*)/ ", end, "\n");
  }

  // `body` as one rule of that name, with what it needs.
  static std::string Content(absl::string_view rule, const v1::Grammar& grammar) {
    switch (grammar.kind()) {
      case v1::Grammar::JSON_SCHEMA:
        return absl::StrCat(rule, ": %json ", Schema(grammar.source(), /*lenient=*/false), "\n");
      case v1::Grammar::REGEX:
        return absl::StrCat(rule, ": /", RegexBody(grammar.source()), "/\n");
      default:
        return absl::StrCat(rule, ": %lark {\n", grammar.source(), "\n}\n");
    }
  }

  // One call of `tool` in the marks of the model; for Hermes without the first mark.
  std::string Call(const Json& tool) const {
    const Json& function = tool["function"];
    const auto parameters = function.find("parameters");
    const bool given = parameters != function.end() && !parameters->is_null();
    const std::string schema =
        "%json " + Schema(given ? parameters->dump() : "{\"type\":\"object\"}",
                          function.value("strict", Json()) != true);
    const std::string name = function["name"].get<std::string>();
    switch (format_.tools) {
      case ToolStyle::kMistral:
        if (!format_.bare_arguments) break;
        return absl::StrCat(Mark("[TOOL_CALLS]"), " ", Quoted(name), " ", Mark("[ARGS]"), " ",
                            schema);
      case ToolStyle::kDeepSeek: {
        const std::string begin = Mark("<｜tool▁call▁begin｜>");
        const std::string separator = Mark("<｜tool▁sep｜>");
        const std::string end = Mark("<｜tool▁call▁end｜>");
        if (format_.bare_arguments) {
          return absl::StrCat(begin, " ", Quoted(name), " ", separator, " ", schema, " ", end);
        }
        return absl::StrCat(begin, " \"function\" ", separator, " ", Quoted(name + "\n```json\n"),
                            " ", schema, " ", Quoted("\n```"), " ", end);
      }
      case ToolStyle::kKimi:
        return absl::StrCat(Mark("<|tool_call_begin|>"), " ", Quoted("functions." + name + ":"),
                            " /[0-9]{1,3}/ ", Mark("<|tool_call_argument_begin|>"), " ", schema,
                            " ", Mark("<|tool_call_end|>"));
      case ToolStyle::kHarmony:
        return absl::StrCat(Mark("<|channel|>"), " ", Quoted("commentary to=functions." + name),
                            " \" \" ", Mark("<|constrain|>"), " \"json\" ", Mark("<|message|>"),
                            " ", schema);
      default:
        break;
    }
    const absl::string_view member =
        format_.tools == ToolStyle::kLlama3 ? "parameters" : "arguments";
    const std::string head =
        Quoted(absl::StrCat("{\"name\": ", Quoted(name), ", \"", member, "\": "));
    const std::string object = absl::StrCat(head, " ", schema, " \"}\"");
    if (format_.tools != ToolStyle::kHermes) return object;
    return absl::StrCat("\"\\n\" ", object, " \"\\n\" ", Mark("</tool_call>"));
  }

  // The rule `calls`: one or more in a turn.
  std::string Calls(const ToolOffer& offer) const {
    std::string out;
    for (const Json& tool : offer.tools) {
      if (!offer.named.empty() && tool["function"]["name"] != offer.named) continue;
      absl::StrAppend(&out, out.empty() ? "one: " : "    | ", Call(tool), "\n");
    }
    const bool hermes = format_.tools == ToolStyle::kHermes;
    absl::StrAppend(&out, "call: ", hermes ? Mark(kHermesMark) + " " : "", "one\n");
    const auto list = [&](absl::string_view between) {
      if (!offer.parallel) return std::string("call");
      return absl::StrCat("call (", between.empty() ? "" : Quoted(between) + " ", "call)*");
    };
    std::string calls;
    switch (format_.tools) {
      case ToolStyle::kHermes:
        calls = list("\n");
        break;
      case ToolStyle::kLlama3:
        calls = list("; ");
        break;
      case ToolStyle::kMistral:
        calls = format_.bare_arguments
                    ? list("")
                    : absl::StrCat(Mark("[TOOL_CALLS]"), " \"[\" ", list(", "), " \"]\"");
        break;
      case ToolStyle::kDeepSeek:
        calls = absl::StrCat(Mark("<｜tool▁calls▁begin｜>"), " ", list("\n"), " ",
                             Mark("<｜tool▁calls▁end｜>"));
        break;
      case ToolStyle::kKimi:
        calls = absl::StrCat(Mark("<|tool_calls_section_begin|>"), " ", list(""), " ",
                             Mark("<|tool_calls_section_end|>"));
        break;
      case ToolStyle::kHarmony:
        calls = "call";
        break;
    }
    return absl::StrCat(out, "calls: ", calls, "\n");
  }

  // The rule `turn` where calls are strict but not required: text, with calls in it.
  std::string FreeWithCalls(bool parallel) const {
    const std::string any = absl::StrCat("FREE: ", kSomeText, "\n");
    switch (format_.tools) {
      case ToolStyle::kHermes:
        // The text before a call ends with the first mark of the call.
        return absl::StrCat("turn: ", parallel ? "(before one)* FREE?" : "FREE? | before one", "\n",
                            UpTo("before", kHermesMark), any);
      case ToolStyle::kLlama3:
        return "turn: FREE? | calls\nFREE: /[^\\{\\s](?s:.*)/\n";
      case ToolStyle::kHarmony:
        return absl::StrCat("turn: calls | final\nfinal: ", Mark("<|channel|>"), " \"final\" ",
                            Mark("<|message|>"), " FREE?\n", any);
      default:
        return absl::StrCat("turn: FREE? calls?\n", any);
    }
  }

  static std::string Schema(const std::string& source, bool lenient) {
    const auto schema = models::text::EmbeddedSchema(source, lenient);
    // What is no schema is left to the compiler of grammars to refuse.
    return schema.ok() ? *schema : source;
  }

 private:
  static std::string RegexBody(const std::string& regex) {
    std::string out;
    bool escaped = false;
    for (const char c : regex) {
      if (c == '/' && !escaped) out.push_back('\\');
      if (c == '\n') {
        out += escaped ? "n" : "\\n";
      } else {
        out.push_back(c);
      }
      escaped = c == '\\' && !escaped;
    }
    return out;
  }

  const TurnFormat& format_;
  const models::text::Tokenizer& tokenizer_;
};

v1::Grammar Lark(std::string source) {
  v1::Grammar grammar;
  grammar.set_kind(v1::Grammar::LARK);
  grammar.set_source(std::move(source));
  return grammar;
}

}  // namespace

std::optional<ApiError> HoldToTools(const TurnFormat& format, const ToolOffer& offer,
                                    const models::text::Tokenizer& tokenizer,
                                    Generation* generation) {
  if (!offer.offered()) return std::nullopt;
  v1::SamplingParams& sampling = generation->sampling;
  const bool required = offer.choice == ToolOffer::Choice::kRequired;
  if (sampling.has_grammar() && required) {
    return InvalidParam(
        "tool_choice",
        absl::StrCat("'tool_choice' asks for a call and '", generation->grammar_field,
                     "' for an answer of a certain form; only one is possible."));
  }
  if (!sampling.has_grammar() && !offer.enforced()) return std::nullopt;
  const TurnLark lark(format, tokenizer);
  std::string source;
  if (required) {
    source = "start: calls\n";
  } else if (sampling.has_grammar()) {
    source =
        absl::StrCat("start: calls | answer\n", TurnLark::Content("answer", sampling.grammar()));
  } else {
    source = absl::StrCat("start: turn\n", lark.FreeWithCalls(offer.parallel));
  }
  absl::StrAppend(&source, lark.Calls(offer));
  *sampling.mutable_grammar() = Lark(std::move(source));
  if (generation->grammar_field.empty()) generation->grammar_field = "tools";
  return std::nullopt;
}

bool EndsInReasoning(const TurnFormat& format, const models::text::Tokenizer& tokenizer,
                     const std::vector<int32_t>& prompt) {
  if (format.open_tag().empty()) return false;
  const size_t tail = std::min(prompt.size(), kTailTokens);
  const auto text = tokenizer.Decode(absl::MakeSpan(prompt).subspan(prompt.size() - tail),
                                     /*skip_special=*/false);
  if (!text.ok()) return false;
  const size_t end = text->find_last_not_of(" \t\r\n");
  return end != std::string::npos &&
         absl::EndsWith(absl::string_view(*text).substr(0, end + 1), format.open_tag());
}

v1::Grammar BehindReasoning(const TurnFormat& format, const models::text::Tokenizer& tokenizer,
                            bool in_reasoning, const v1::Grammar& grammar) {
  if (format.reasoning == ReasoningStyle::kNone) return grammar;
  const TurnLark lark(format, tokenizer);
  std::string source;
  if (format.reasoning == ReasoningStyle::kHarmony) {
    // A call brings its channel with it.
    const bool turn = absl::StrContains(grammar.source(), lark.Mark("<|channel|>"));
    const std::string channel = lark.Mark("<|channel|>");
    const std::string message = lark.Mark("<|message|>");
    source = absl::StrCat(
        "start: thought? last\nthought: ", channel, " \"analysis\" ", message, " ", kSomeText, "? ",
        lark.Mark("<|end|>"), " ", lark.Mark("<|start|>"), " \"assistant\"\n",
        "last: ", turn ? std::string() : absl::StrCat(channel, " \"final\" ", message, " "),
        "answer\n");
  } else if (in_reasoning) {
    source = "start: thought \"\\n\"* answer\n" + lark.UpTo("thought", format.close_tag());
  } else {
    source = absl::StrCat("start: (", lark.Mark(format.open_tag()), " thought \"\\n\"*)? answer\n",
                          lark.UpTo("thought", format.close_tag()));
  }
  return Lark(source + TurnLark::Content("answer", grammar));
}

}  // namespace baton::router
