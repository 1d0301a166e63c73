// `baton score`: the logits of every position and the greedy continuation, for comparison with
// other implementations.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/model_run.h"
#include "models/gguf/mapped_file.h"
#include "models/safetensors/safetensors_writer.h"

namespace baton::cli {
namespace {

using nlohmann::json;

struct ScoreOptions {
  ModelRunOptions run;
  std::string ids_file;
  std::string out;
  int32_t greedy = 0;
};

using Prompts = std::vector<std::vector<int32_t>>;

absl::StatusOr<std::vector<int32_t>> ReadPrompt(const json& list, int32_t vocab_size) {
  if (!list.is_array()) return absl::InvalidArgumentError("is not a list of token ids");
  if (list.empty()) return absl::InvalidArgumentError("is empty, needed at least one token id");
  std::vector<int32_t> ids;
  for (const json& id : list) {
    if (!id.is_number_integer()) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", ids.size(), " is not a whole number"));
    }
    const bool fits =
        id.is_number_unsigned() ? id.get<uint64_t>() < static_cast<uint64_t>(vocab_size) : false;
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat("token ", ids.size(), " is ", id.dump(),
                                                     ", the vocabulary has the ids 0 to ",
                                                     vocab_size - 1));
    }
    ids.push_back(static_cast<int32_t>(id.get<uint64_t>()));
  }
  return ids;
}

absl::StatusOr<Prompts> ReadPrompts(const std::string& path, int32_t vocab_size) {
  BATON_ASSIGN_OR_RETURN(const models::MappedFile file, models::MappedFile::Open(path));
  json lists;
  try {
    lists = json::parse(file.bytes().begin(), file.bytes().end());
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
  if (!lists.is_array() || lists.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": needed a list of lists of token ids, such as [[1, 2, 3], [4]]"));
  }
  Prompts prompts;
  for (const json& list : lists) {
    absl::StatusOr<std::vector<int32_t>> prompt = ReadPrompt(list, vocab_size);
    if (!prompt.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": prompt ", prompts.size(), " ", prompt.status().message()));
    }
    prompts.push_back(*std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<models::SafetensorsWriter> CreateOutput(const ScoreOptions& options,
                                                       const Prompts& prompts, int32_t vocab_size) {
  std::vector<models::SafetensorsEntry> entries;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const int64_t length = static_cast<int64_t>(prompts[i].size());
    entries.push_back({absl::StrCat("prompt", i, ".logits"), "F32", {length, vocab_size}});
    if (options.greedy > 0) {
      entries.push_back({absl::StrCat("prompt", i, ".greedy_ids"), "I32", {options.greedy}});
    }
  }
  return models::SafetensorsWriter::Create(options.out, entries);
}

// The likeliest token, the smallest id where several are.
int32_t ArgMax(absl::Span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

absl::Status ScorePrompt(ModelRun& run, const std::vector<int32_t>& prompt, int32_t greedy,
                         models::SafetensorsWriter& out) {
  run.Restart();
  int32_t next = 0;
  BATON_RETURN_IF_ERROR(run.Append(prompt, true, [&](int64_t, absl::Span<const float> logits) {
    next = ArgMax(logits);
    return out.Append(logits.data(), logits.size() * sizeof(float));
  }));
  std::vector<int32_t> ids;
  while (static_cast<int32_t>(ids.size()) < greedy) {
    ids.push_back(next);
    if (static_cast<int32_t>(ids.size()) == greedy) break;
    BATON_RETURN_IF_ERROR(
        run.Append({&ids.back(), 1}, false, [&](int64_t, absl::Span<const float> logits) {
          next = ArgMax(logits);
          return absl::OkStatus();
        }));
  }
  return out.Append(ids.data(), ids.size() * sizeof(int32_t));
}

absl::Status Score(const ScoreOptions& options) {
  BATON_ASSIGN_OR_RETURN(ModelRun run, ModelRun::Load(options.run));
  const int32_t vocab_size = run.config().vocab_size;
  BATON_ASSIGN_OR_RETURN(const Prompts prompts, ReadPrompts(options.ids_file, vocab_size));
  int64_t tokens = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const int64_t length = static_cast<int64_t>(prompts[i].size());
    // The last token of the continuation is not fed back.
    const absl::Status reserved = run.Reserve(length + std::max(options.greedy - 1, 0));
    if (!reserved.ok()) {
      return absl::Status(reserved.code(), absl::StrCat(options.ids_file, ": prompt ", i, " of ",
                                                        length, " tokens with --greedy ",
                                                        options.greedy, " ", reserved.message()));
    }
    tokens += length;
  }
  BATON_ASSIGN_OR_RETURN(models::SafetensorsWriter out, CreateOutput(options, prompts, vocab_size));
  const absl::Time begin = SystemClock::Get().Now();
  for (const std::vector<int32_t>& prompt : prompts) {
    BATON_RETURN_IF_ERROR(ScorePrompt(run, prompt, options.greedy, out));
  }
  BATON_RETURN_IF_ERROR(out.Finish());
  std::printf("%s: %zu prompts, %lld tokens, %d greedy each, in %.2f s on %s\n",
              options.out.c_str(), prompts.size(), static_cast<long long>(tokens), options.greedy,
              absl::ToDoubleSeconds(SystemClock::Get().Now() - begin),
              run.device_description().c_str());
  return absl::OkStatus();
}

}  // namespace

void AddScoreCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* score = app.add_subcommand(
      "score", "Write the logits of every position of given token ids, and greedy continuations");
  score->add_option("--model", options->run.model, "GGUF file, or folder with config.json")
      ->required();
  score->add_option("--device", options->run.device, "cpu, p_chip or d_chip")
      ->check(CLI::IsMember({"cpu", "p_chip", "d_chip"}))
      ->capture_default_str();
  score->add_option("--ids-file", options->ids_file, "JSON: a list of lists of token ids")
      ->required();
  score
      ->add_option(
          "--out", options->out,
          "safetensors file: prompt{i}.logits F32 [n, vocab], prompt{i}.greedy_ids I32 [N]")
      ->required();
  score->add_option("--greedy", options->greedy, "tokens to continue each prompt with")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  score->add_option("--threads", options->run.threads, "compute threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  score->add_option("--isa", options->run.isa, "force scalar, avx2, avxvnni, avx512vnni or amx");
  score
      ->add_option("--kv-dtype", options->run.kv_dtype,
                   "keys and values as f16, bf16 or f32; default: f32 on cpu, else f16")
      ->check(CLI::IsMember({"f16", "bf16", "f32"}));
  score->callback([options, exit_code] {
    const absl::Status status = Score(*options);
    *exit_code = status.ok() ? 0 : 1;
    if (!status.ok()) {
      std::fprintf(stderr, "baton score: %s\n", std::string(status.message()).c_str());
    }
  });
}

}  // namespace baton::cli
