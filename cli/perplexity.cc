// `baton perplexity`: how well a model predicts a text.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/model_run.h"
#include "models/gguf/mapped_file.h"
#include "models/text/tokenizer.h"

namespace baton::cli {
namespace {

struct PerplexityOptions {
  ModelRunOptions run;
  std::string text;
  int32_t chunk = 512;
  int64_t max_tokens = 0;
};

struct Sum {
  double nll = 0;
  int64_t predictions = 0;
};

// Minus the natural logarithm of the softmax of `logits` at `id`.
double NegativeLogProbability(absl::Span<const float> logits, int32_t id) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  return std::log(sum) - (logits[id] - most);
}

absl::StatusOr<std::vector<int32_t>> ReadTokens(const PerplexityOptions& options,
                                                const models::text::Tokenizer& tokenizer) {
  BATON_ASSIGN_OR_RETURN(const models::MappedFile file, models::MappedFile::Open(options.text));
  const absl::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                               file.bytes().size());
  BATON_ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                         tokenizer.Encode(text, /*parse_special=*/false, /*add_bos=*/false));
  if (options.max_tokens > 0 && static_cast<int64_t>(ids.size()) > options.max_tokens) {
    ids.resize(options.max_tokens);
  }
  if (ids.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.text, ": has ", ids.size(), " tokens, needed at least 2"));
  }
  return ids;
}

// One chunk from an empty context. With a BOS every token is predicted, otherwise all but the
// first.
absl::Status AddChunk(ModelRun& run, absl::Span<const int32_t> chunk, int32_t bos_id, Sum& sum) {
  std::vector<int32_t> ids(chunk.begin(), chunk.end());
  if (bos_id >= 0) ids.insert(ids.begin(), bos_id);
  if (ids.size() < 2) return absl::OkStatus();
  run.Restart();
  const absl::Span<const int32_t> inputs = absl::MakeConstSpan(ids).subspan(0, ids.size() - 1);
  return run.Append(inputs, true, [&](int64_t index, absl::Span<const float> logits) {
    sum.nll += NegativeLogProbability(logits, ids[index + 1]);
    ++sum.predictions;
    return absl::OkStatus();
  });
}

absl::Status Perplexity(const PerplexityOptions& options) {
  BATON_ASSIGN_OR_RETURN(const auto tokenizer, models::text::Tokenizer::Open(options.run.model));
  BATON_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ReadTokens(options, *tokenizer));
  BATON_ASSIGN_OR_RETURN(ModelRun run, ModelRun::Load(options.run));
  if (tokenizer->vocab_size() > run.config().vocab_size) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.run.model, ": the tokenizer has ", tokenizer->vocab_size(),
                     " tokens, the model ", run.config().vocab_size));
  }
  const int32_t bos_id = tokenizer->add_bos() ? tokenizer->bos_id() : -1;
  BATON_RETURN_IF_ERROR(run.Reserve(options.chunk + (bos_id >= 0 ? 1 : 0)));
  const absl::Time begin = SystemClock::Get().Now();
  Sum sum;
  for (size_t at = 0; at < ids.size(); at += options.chunk) {
    BATON_RETURN_IF_ERROR(
        AddChunk(run, absl::MakeConstSpan(ids).subspan(at, options.chunk), bos_id, sum));
  }
  std::printf("device:      %s\n", run.device_description().c_str());
  std::printf("tokens:      %zu in chunks of %d, %s\n", ids.size(), options.chunk,
              bos_id >= 0 ? "each after BOS" : "the first of each is not predicted");
  std::printf("predictions: %lld\n", static_cast<long long>(sum.predictions));
  std::printf("mean nll:    %.6f\n", sum.nll / static_cast<double>(sum.predictions));
  std::printf("perplexity:  %.5f\n", std::exp(sum.nll / static_cast<double>(sum.predictions)));
  std::printf("time:        %.2f s\n", absl::ToDoubleSeconds(SystemClock::Get().Now() - begin));
  return absl::OkStatus();
}

}  // namespace

void AddPerplexityCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<PerplexityOptions>();
  CLI::App* perplexity = app.add_subcommand(
      "perplexity",
      "Measure how well a model predicts a text: exp of the mean negative log-probability");
  perplexity->add_option("--model", options->run.model, "GGUF file with a tokenizer")->required();
  perplexity->add_option("--device", options->run.device, "cpu, p_chip or d_chip")
      ->check(CLI::IsMember({"cpu", "p_chip", "d_chip"}))
      ->capture_default_str();
  perplexity->add_option("--text", options->text, "text file, taken literally")->required();
  perplexity
      ->add_option("--chunk", options->chunk,
                   "tokens that share a context; each chunk starts afresh")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  perplexity->add_option("--tokens", options->max_tokens, "use only the first N tokens; 0: all")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  perplexity->add_option("--threads", options->run.threads, "compute threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  perplexity->add_option("--isa", options->run.isa,
                         "force scalar, avx2, avxvnni, avx512vnni or amx");
  perplexity
      ->add_option("--kv-dtype", options->run.kv_dtype,
                   "keys and values as f16, bf16 or f32; default: f32 on cpu, else f16")
      ->check(CLI::IsMember({"f16", "bf16", "f32"}));
  perplexity->callback([options, exit_code] {
    const absl::Status status = Perplexity(*options);
    *exit_code = status.ok() ? 0 : 1;
    if (!status.ok()) {
      std::fprintf(stderr, "baton perplexity: %s\n", std::string(status.message()).c_str());
    }
  });
}

}  // namespace baton::cli
