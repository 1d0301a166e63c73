// Puts texts and templates of other programs' through the text library, for the tests in Python.
//   text_probe encode MODEL    a JSON array of texts from stdin: prints their ids, as plain text
//   text_probe render          a JSON array of {template, globals, messages, variables, generate,
//   seconds}
//                              from stdin: prints for each {"text"} or {"error"}
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "models/text/abi_results.h"
#include "models/text/text_abi.h"
#include "models/text/tokenizer.h"

namespace baton::models::text {
namespace {

// In the order of the file, as templates print objects.
using Json = nlohmann::ordered_json;

absl::StatusOr<std::string> Render(const Json& job) {
  const std::string source = job.at("template"), globals = job.at("globals").dump();
  const std::string messages = job.at("messages").dump(), variables = job.at("variables").dump();
  BatonChatTemplate* made = nullptr;
  BatonBuffer error;
  BatonTextCode code = baton_chat_template_new(View(source), View(globals), &made, &error);
  if (code != BATON_TEXT_OK) return TakeError(code, "", error);
  BatonBuffer out;
  code = baton_chat_template_render(made, View(messages), View(variables), job.at("generate"),
                                    job.at("seconds"), &out, &error);
  baton_chat_template_free(made);
  if (code != BATON_TEXT_OK) return TakeError(code, "", error);
  return TakeString(out);
}

int Run(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
  const Json jobs = Json::parse(input);
  Json results = Json::array();
  if (mode == "render") {
    for (const Json& job : jobs) {
      const auto text = Render(job);
      results.push_back(text.ok() ? Json{{"text", *text}}
                                  : Json{{"error", std::string(text.status().message())}});
    }
  } else if (mode == "encode" && argc == 3) {
    const auto tokenizer = Tokenizer::FromGguf(argv[2]);
    if (!tokenizer.ok()) {
      std::cerr << tokenizer.status() << "\n";
      return 1;
    }
    for (const Json& text : jobs) {
      const auto ids = (*tokenizer)->Encode(text.get<std::string>(), false, false);
      results.push_back(ids.ok() ? Json(*ids) : Json(std::string(ids.status().message())));
    }
  } else {
    std::cerr << "usage: text_probe encode MODEL | text_probe render\n";
    return 2;
  }
  std::cout << results.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace baton::models::text

int main(int argc, char** argv) { return baton::models::text::Run(argc, argv); }
