// Grammars for whole turns: tool calls in the marks of the model, answers behind reasoning.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/text/tokenizer.h"
#include "proto/types.pb.h"
#include "router/api/tools.h"
#include "router/api/turn_format.h"
#include "router/generation.h"

namespace baton::router {

// Lets the turn be calls that keep to the schemas of `offer`, where they must be made or are
// strict, together with the form of the answer that `generation` asks for already. 400 for a form
// that cannot be had together with tools.
std::optional<ApiError> HoldToTools(const TurnFormat& format, const ToolOffer& offer,
                                    const models::text::Tokenizer& tokenizer,
                                    Generation* generation);

// Whether the tokens of a prompt end with the tag that opens reasoning.
bool EndsInReasoning(const TurnFormat& format, const models::text::Tokenizer& tokenizer,
                     const std::vector<int32_t>& prompt);

// The grammar of a turn whose answer follows `grammar`, with free reasoning before it.
v1::Grammar BehindReasoning(const TurnFormat& format, const models::text::Tokenizer& tokenizer,
                            bool in_reasoning, const v1::Grammar& grammar);

}  // namespace baton::router
