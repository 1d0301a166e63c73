#include "bench/load/token_counter.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::bench {
namespace {

using nlohmann::json;

std::string Body(const std::string& model, const std::string& text, bool vllm_form) {
  if (!vllm_form) return json{{"content", text}}.dump();
  return json{{"model", model}, {"prompt", text}, {"add_special_tokens", false}}.dump();
}

}  // namespace

std::unique_ptr<ServerTokenCounter> ServerTokenCounter::Find(HttpClient& client,
                                                             const std::string& model) {
  for (const bool vllm_form : {true, false}) {
    std::unique_ptr<ServerTokenCounter> counter(new ServerTokenCounter(client, model, vllm_form));
    const absl::StatusOr<int64_t> count = counter->Count("one two three four");
    if (count.ok() && *count > 0) return counter;
  }
  return nullptr;
}

absl::StatusOr<int64_t> ServerTokenCounter::Count(const std::string& text) {
  BATON_ASSIGN_OR_RETURN(
      const HttpReply reply,
      client_.Send(boost::beast::http::verb::post, "/tokenize", Body(model_, text, vllm_form_)));
  if (reply.status != 200) {
    return absl::UnavailableError(absl::StrCat("/tokenize answered HTTP ", reply.status));
  }
  const json answer = json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  if (answer.is_object()) {
    const auto count = answer.find("count");
    if (count != answer.end() && count->is_number_integer()) return count->get<int64_t>();
    const auto tokens = answer.find("tokens");
    if (tokens != answer.end() && tokens->is_array()) return static_cast<int64_t>(tokens->size());
  }
  return absl::UnavailableError("/tokenize answered neither count nor tokens");
}

absl::StatusOr<std::unique_ptr<FileTokenCounter>> FileTokenCounter::Load(const std::string& path) {
  BATON_ASSIGN_OR_RETURN(auto tokenizer, models::text::Tokenizer::Open(path));
  return std::unique_ptr<FileTokenCounter>(new FileTokenCounter(path, std::move(tokenizer)));
}

absl::StatusOr<int64_t> FileTokenCounter::Count(const std::string& text) {
  BATON_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                         tokenizer_->Encode(text, /*parse_special=*/false, /*add_bos=*/false));
  return static_cast<int64_t>(ids.size());
}

}  // namespace baton::bench
