// Says which texts a grammar accepts. Argument: a GGUF file, for its tokenizer. Each line of the
// input is {"kind": "json" | "regex" | "lark", "source": ..., "texts": [...]}; each of the output
// {"error": ...} or {"accepted": [...]}, one boolean a text.
#include <iostream>
#include <nlohmann/json.hpp>

#include "models/text/grammar.h"

namespace baton::models::text {
namespace {

bool Accepts(const Tokenizer& tokenizer, GrammarMatcher& matcher, const std::string& text) {
  const auto ids = tokenizer.Encode(text, /*parse_special=*/true, /*add_bos=*/false);
  if (!ids.ok() || !matcher.Consume(*ids).ok()) return false;
  std::vector<uint32_t> mask;
  if (!matcher.Mask(&mask, tokenizer.vocab_size()).ok()) return false;
  for (const int32_t end : tokenizer.eos_ids()) {
    if (mask[end / 32] >> (end % 32) & 1) return true;
  }
  return false;
}

nlohmann::json Answer(const Tokenizer& tokenizer, GrammarCompiler& compiler,
                      const nlohmann::json& line) {
  GrammarKind kind = GrammarKind::kJsonSchema;
  if (line["kind"] == "regex") kind = GrammarKind::kRegex;
  if (line["kind"] == "lark") kind = GrammarKind::kLark;
  nlohmann::json accepted = nlohmann::json::array();
  for (const nlohmann::json& text : line["texts"]) {
    const auto matcher = compiler.Compile(kind, line["source"].get<std::string>());
    if (!matcher.ok()) return {{"error", std::string(matcher.status().message())}};
    accepted.push_back(Accepts(tokenizer, **matcher, text.get<std::string>()));
  }
  return {{"accepted", accepted}};
}

int Main(const std::string& model) {
  const auto tokenizer = Tokenizer::FromGguf(model);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  const auto compiler = GrammarCompiler::Create(**tokenizer);
  if (!compiler.ok()) {
    std::cerr << compiler.status() << "\n";
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Answer(**tokenizer, **compiler, nlohmann::json::parse(line)).dump() << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace baton::models::text

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  return baton::models::text::Main(argv[1]);
}
