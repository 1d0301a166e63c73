// colocated_generate --model FILE: answers JSON lines of requests, one after the other, with one
// engine that does both phases on d_chip, one thread.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status_macros.h"
#include "engine/assembly.h"
#include "engine/engine.h"
#include "engine/grammar/grammar_constraint.h"
#include "engine/wire/request_params.h"
#include "tests/fakes/colocated_policy.h"
#include "tests/fakes/recording_listener.h"

namespace baton::fakes {
namespace {

using nlohmann::json;

// What an absent field means is what the router makes of it.
absl::StatusOr<std::unique_ptr<engine::Sequence>> ParseRequest(
    const std::string& line, const models::ModelConfig& config,
    engine::GrammarConstraints& grammars) {
  try {
    const json request = json::parse(line);
    v1::SamplingParams sampling;
    sampling.set_temperature(request.value("temperature", 1.0));
    sampling.set_top_p(request.value("top_p", 1.0));
    sampling.set_top_k(request.value("top_k", 0));
    sampling.set_min_p(request.value("min_p", 0.0));
    sampling.set_seed(request.value("seed", uint64_t{0}));
    sampling.set_repetition_penalty(request.value("repetition_penalty", 1.0));
    sampling.set_presence_penalty(request.value("presence_penalty", 0.0));
    sampling.set_frequency_penalty(request.value("frequency_penalty", 0.0));
    if (request.contains("guided_regex")) {
      sampling.mutable_grammar()->set_kind(v1::Grammar::REGEX);
      sampling.mutable_grammar()->set_source(request.at("guided_regex").get<std::string>());
    }
    v1::StopParams stop;
    stop.set_max_tokens(request.value("max_tokens", 16));
    stop.set_ignore_eos(request.value("ignore_eos", false));
    const auto prompt = request.at("prompt").get<std::vector<int32_t>>();
    BATON_ASSIGN_OR_RETURN(std::unique_ptr<engine::Sequence> sequence,
                           engine::MakeSequence(prompt, 0, sampling, stop, config));
    BATON_RETURN_IF_ERROR(engine::AttachGrammar(&grammars, sampling, sequence.get()));
    return sequence;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

absl::Status AnswerAll(const std::string& model) {
  engine::AssemblyOptions options;
  options.model = model;
  options.device.name = "d_chip";
  options.device.threads = 1;
  BATON_ASSIGN_OR_RETURN(engine::Assembly parts, engine::Assemble(options));
  const models::ModelConfig& config = parts.model->config();
  ColocatedPolicy policy(options.batch_tokens_max, config.context_length);
  engine::Engine engine(
      *parts.model, *parts.store, *parts.pool, policy, SystemClock::Get(),
      {.queue_max = 1, .eos_ids = config.eos_ids, .context_length = config.context_length});
  engine::GrammarConstraints grammars(model);
  engine.Start();
  std::string line;
  while (std::getline(std::cin, line)) {
    BATON_ASSIGN_OR_RETURN(std::unique_ptr<engine::Sequence> sequence,
                           ParseRequest(line, config, grammars));
    const auto listener = std::make_shared<RecordingListener>();
    sequence->listener = listener;
    BATON_RETURN_IF_ERROR(engine.Submit(std::move(sequence)));
    BATON_RETURN_IF_ERROR(listener->WaitForEnd());
    std::cout << json{{"output_ids", listener->ids()}}.dump() << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace baton::fakes

int main(int argc, char** argv) {
  CLI::App app("Answers JSON lines of requests with one engine that does both phases.");
  std::string model;
  app.add_option("--model", model, "GGUF file or folder")->required();
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = baton::fakes::AnswerAll(model);
  if (status.ok()) return 0;
  std::fprintf(stderr, "colocated_generate: %s\n", std::string(status.message()).c_str());
  return 1;
}
