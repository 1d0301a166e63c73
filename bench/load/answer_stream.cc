#include "bench/load/answer_stream.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::bench {
namespace {

using nlohmann::json;

std::string StringMember(const json& object, const char* name) {
  const auto member = object.find(name);
  return member != object.end() && member->is_string() ? member->get<std::string>() : "";
}

// Text of a choice of either API; reasoning counts, because it costs tokens.
std::string TextOf(const json& choice) {
  const auto delta = choice.find("delta");
  if (delta == choice.end() || !delta->is_object()) return StringMember(choice, "text");
  std::string text = StringMember(*delta, "content");
  for (const char* name : {"reasoning_content", "reasoning"}) {
    if (text.empty()) text = StringMember(*delta, name);
  }
  return text;
}

// A chat chunk that says only who speaks.
bool AnnouncesRole(const json& choice) {
  const auto delta = choice.find("delta");
  return delta != choice.end() && delta->is_object() && delta->contains("role") &&
         !delta->contains("tool_calls") && TextOf(choice).empty();
}

bool HasFinishReason(const json& choice) {
  const auto reason = choice.find("finish_reason");
  return reason != choice.end() && !reason->is_null();
}

}  // namespace

absl::Status AnswerStream::Feed(absl::string_view bytes, double now_s) {
  std::vector<std::string> events;
  BATON_RETURN_IF_ERROR(parser_.Feed(bytes, events));
  for (const std::string& data : events) BATON_RETURN_IF_ERROR(TakeEvent(data, now_s));
  return absl::OkStatus();
}

absl::Status AnswerStream::Finish(double now_s) {
  std::vector<std::string> events;
  parser_.Finish(events);
  for (const std::string& data : events) BATON_RETURN_IF_ERROR(TakeEvent(data, now_s));
  if (!done_ && !finished_) {
    return absl::UnavailableError(absl::StrCat("the stream ended after ", token_chunks_,
                                               " token chunks without a finish reason or [DONE]"));
  }
  if (token_chunks_ == 0) return absl::UnavailableError("the answer has no tokens");
  record_.end_s = last_chunk_s_;
  record_.tokens_estimated = !has_usage_;
  if (!has_usage_) record_.output_tokens = token_chunks_;
  return absl::OkStatus();
}

absl::Status AnswerStream::TakeEvent(const std::string& data, double now_s) {
  if (done_) return absl::OkStatus();
  if (data == "[DONE]") {
    done_ = true;
    return absl::OkStatus();
  }
  const json event = json::parse(data, nullptr, /*allow_exceptions=*/false);
  if (!event.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("an event of the stream is no JSON object: ", data.substr(0, 200)));
  }
  if (const auto error = event.find("error"); error != event.end() && !error->is_null()) {
    return absl::UnavailableError(
        absl::StrCat("the server reported in the stream: ",
                     error->dump(-1, ' ', false, json::error_handler_t::replace)));
  }
  if (const auto usage = event.find("usage"); usage != event.end() && usage->is_object()) {
    const auto output = usage->find("completion_tokens");
    if (output != usage->end() && output->is_number_integer()) {
      has_usage_ = true;
      record_.output_tokens = output->get<int64_t>();
      const auto prompt = usage->find("prompt_tokens");
      if (prompt != usage->end() && prompt->is_number_integer()) {
        record_.prompt_tokens = prompt->get<int64_t>();
      }
    }
  }
  const auto choices = event.find("choices");
  if (choices == event.end() || !choices->is_array() || choices->empty()) return absl::OkStatus();
  const json& choice = choices->front();
  const std::string text = TextOf(choice);
  const bool finishes = HasFinishReason(choice);
  if (finishes) finished_ = true;
  const bool is_role_only = token_chunks_ == 0 && !finishes && AnnouncesRole(choice);
  if (text.empty() && is_role_only) return absl::OkStatus();
  if (text.empty() && finishes && token_chunks_ > 0) {
    // The answer lasts until its finish reason, even where that comes alone.
    last_chunk_s_ = now_s;
    return absl::OkStatus();
  }
  record_.text += text;
  TakeTokenChunk(now_s);
  return absl::OkStatus();
}

void AnswerStream::TakeTokenChunk(double now_s) {
  ++token_chunks_;
  if (token_chunks_ == 1) {
    record_.ttft_s = now_s - record_.sent_s;
  } else {
    record_.itl_s.push_back(now_s - last_chunk_s_);
    if (token_chunks_ == 2) record_.ttst_s = now_s - record_.sent_s;
  }
  last_chunk_s_ = now_s;
}

}  // namespace baton::bench
