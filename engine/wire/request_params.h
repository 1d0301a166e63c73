// Protobuf requests to engine parameters and back. Nothing from a wire is believed.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "models/model_config.h"
#include "proto/types.pb.h"

namespace baton::engine {

// Each: InvalidArgument names the field, its value and what is allowed.
absl::StatusOr<SamplingParams> SamplingFromProto(const v1::SamplingParams& params,
                                                 int32_t vocab_size);
absl::StatusOr<StopParams> StopFromProto(const v1::StopParams& params, int32_t vocab_size);

// What is to be read off the prompt. `embed` null: tokens are drawn.
absl::StatusOr<PromptReading> ReadingFromProto(const v1::SamplingParams& params,
                                               const v1::Embed* embed);

// A sequence of `prompt` (ids in the vocabulary, 1 to context_length - 1 of them), the last
// `first_index` of which are output tokens of an earlier node. Listener, id and blocks are left to
// the caller.
template <typename Ids>
absl::StatusOr<std::unique_ptr<Sequence>> MakeSequence(const Ids& prompt, int32_t first_index,
                                                       const v1::SamplingParams& sampling,
                                                       const v1::StopParams& stop,
                                                       const models::ModelConfig& config);

v1::PromptLogprobs PromptLogprobsToProto(int64_t first, const std::vector<PromptToken>& tokens);
v1::Token TokenToProto(int32_t index, const SampledToken& token, const SamplingParams& params);
v1::FinishReason FinishReasonToProto(FinishReason reason);

absl::Status CheckPrompt(const int32_t* ids, int64_t count, int32_t first_index,
                         const models::ModelConfig& config);

template <typename Ids>
absl::StatusOr<std::unique_ptr<Sequence>> MakeSequence(const Ids& prompt, int32_t first_index,
                                                       const v1::SamplingParams& sampling,
                                                       const v1::StopParams& stop,
                                                       const models::ModelConfig& config) {
  absl::Status status = CheckPrompt(prompt.data(), prompt.size(), first_index, config);
  if (!status.ok()) return status;
  auto sequence = std::make_unique<Sequence>();
  absl::StatusOr<SamplingParams> drawn = SamplingFromProto(sampling, config.vocab_size);
  if (!drawn.ok()) return drawn.status();
  absl::StatusOr<StopParams> stops = StopFromProto(stop, config.vocab_size);
  if (!stops.ok()) return stops.status();
  sequence->tokens.assign(prompt.begin(), prompt.end());
  sequence->prompt_tokens = prompt.size();
  sequence->first_index = first_index;
  sequence->sampling = *std::move(drawn);
  sequence->stop = *std::move(stops);
  return sequence;
}

}  // namespace baton::engine
