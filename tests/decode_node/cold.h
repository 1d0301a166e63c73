// What nodes must answer however much of a prompt they have cached, and conversations to ask about.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/wire/request_params.h"
#include "tests/decode_node/two_nodes.h"
#include "tests/fakes/colocated_policy.h"
#include "tests/fakes/recording_listener.h"

namespace baton::decode_node {

// What an engine without a cache answers.
inline std::vector<int32_t> Cold(const Prompt& prompt) {
  engine::Assembly parts = AssembleT0("d_chip", 32, 512, 64);
  const models::ModelConfig& config = parts.model->config();
  fakes::ColocatedPolicy policy(512, config.context_length);
  engine::Engine engine(*parts.model, *parts.store, *parts.pool, policy, SystemClock::Get(),
                        OptionsFor(config));
  engine.Start();
  auto sequence = engine::MakeSequence(prompt.ids, 0, prompt.sampling, prompt.stop, config).value();
  const auto listener = std::make_shared<fakes::RecordingListener>();
  sequence->listener = listener;
  EXPECT_TRUE(engine.Submit(std::move(sequence)).ok());
  EXPECT_TRUE(listener->WaitForEnd().ok());
  return listener->ids();
}

// The conversation goes on: prompt, answer and `more` new tokens.
inline Prompt NextTurn(const Prompt& prompt, const std::vector<int32_t>& answer, int32_t more,
                       uint64_t seed) {
  Prompt next = prompt;
  next.ids.insert(next.ids.end(), answer.begin(), answer.end());
  const Prompt question = PromptOf(more, 1, seed);
  next.ids.insert(next.ids.end(), question.ids.begin(), question.ids.end());
  return next;
}

}  // namespace baton::decode_node
