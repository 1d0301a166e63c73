#include "router/api/turn_reader.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::router {

TurnParts TurnReader::Read(const Delta& delta) {
  TurnParts parts;
  const bool last = delta.finish != v1::FINISH_REASON_UNSPECIFIED;
  if (reading_.format == nullptr) {
    AppendText(TurnPart::Kind::kContent, delta.text, &parts);
    return parts;
  }
  if (!parser_) {
    parser_ = MakeTurnParser(*reading_.format, reading_.tools, delta.in_reasoning);
    reasons_ = delta.in_reasoning;
  }
  parser_->Push(delta.text, &parts);
  if (last) parser_->Finish(&parts);
  for (TurnPart& part : parts) {
    reasons_ = part.kind == TurnPart::Kind::kReasoning;
    if (part.kind != TurnPart::Kind::kCall) continue;
    if (part.id.empty()) part.id = CallId();
    ++calls_;
  }
  if (reasons_) reasoning_tokens_ += static_cast<int64_t>(delta.tokens.size());
  return parts;
}

std::string TurnReader::CallId() const {
  // Mistral's templates insist on nine letters and digits.
  if (reading_.format->tools == ToolStyle::kMistral) {
    return absl::StrFormat("%s%x%02x", answer_id_.substr(0, 6), choice_ % 16, calls_ % 256);
  }
  return absl::StrFormat("call_%s%x%02x", answer_id_.substr(0, 20), choice_ % 16, calls_);
}

}  // namespace baton::router
