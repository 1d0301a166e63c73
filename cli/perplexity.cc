// `baton perplexity`: how well a model predicts a text, and how far from another device.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
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
  std::string reference;  // a device to compare with, or empty
  std::string text;
  int32_t chunk = 512;
  int64_t max_tokens = 0;
};

struct Sum {
  double nll = 0;
  int64_t predictions = 0;
  // Of the reference, and of the distance between its distributions P and those of the device, Q.
  double reference_nll = 0;
  double divergence = 0;          // sum of KL(P || Q), in nats
  double largest_divergence = 0;  // of one prediction
  int64_t same_best = 0;          // predictions where P and Q prefer the same token
};

// The natural logarithm of the sum of exp(logits).
double LogSum(absl::Span<const float> logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  return most + std::log(sum);
}

// Kullback-Leibler divergence of the softmax of `q` from that of `p`, in nats.
double Divergence(absl::Span<const float> p, absl::Span<const float> q) {
  const double p_sum = LogSum(p), q_sum = LogSum(q);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_sum;
    divergence += std::exp(log_p) * (log_p - (q[i] - q_sum));
  }
  return divergence;
}

int64_t Best(absl::Span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
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

// The logits after each of `inputs` from an empty context, one row after the other.
absl::StatusOr<std::vector<float>> LogitsOf(ModelRun& run, absl::Span<const int32_t> inputs) {
  std::vector<float> all;
  all.reserve(inputs.size() * run.config().vocab_size);
  run.Restart();
  BATON_RETURN_IF_ERROR(run.Append(inputs, true, [&](int64_t, absl::Span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
    return absl::OkStatus();
  }));
  return all;
}

// One chunk from an empty context. With a BOS every token is predicted, otherwise all but the
// first. `reference` may be null.
absl::Status AddChunk(ModelRun& run, ModelRun* reference, absl::Span<const int32_t> chunk,
                      int32_t bos_id, Sum& sum) {
  std::vector<int32_t> ids(chunk.begin(), chunk.end());
  if (bos_id >= 0) ids.insert(ids.begin(), bos_id);
  if (ids.size() < 2) return absl::OkStatus();
  const absl::Span<const int32_t> inputs = absl::MakeConstSpan(ids).subspan(0, ids.size() - 1);
  std::vector<float> expected;
  if (reference != nullptr) {
    BATON_ASSIGN_OR_RETURN(expected, LogitsOf(*reference, inputs));
  }
  run.Restart();
  return run.Append(inputs, true, [&](int64_t index, absl::Span<const float> logits) {
    const int32_t id = ids[index + 1];
    sum.nll += LogSum(logits) - logits[id];
    ++sum.predictions;
    if (reference == nullptr) return absl::OkStatus();
    const absl::Span<const float> p =
        absl::MakeConstSpan(expected).subspan(index * logits.size(), logits.size());
    const double divergence = Divergence(p, logits);
    sum.reference_nll += LogSum(p) - p[id];
    sum.divergence += divergence;
    sum.largest_divergence = std::max(sum.largest_divergence, divergence);
    if (Best(p) == Best(logits)) ++sum.same_best;
    return absl::OkStatus();
  });
}

void PrintDistance(const ModelRun& reference, const Sum& sum) {
  const double count = static_cast<double>(sum.predictions);
  std::printf("reference:   %s\n", reference.device_description().c_str());
  std::printf("its perplexity: %.5f, ratio %.5f\n", std::exp(sum.reference_nll / count),
              std::exp((sum.nll - sum.reference_nll) / count));
  std::printf("mean KL:     %.6f nats from the reference, largest %.6f\n", sum.divergence / count,
              sum.largest_divergence);
  std::printf("same top-1:  %.2f %%\n", 100 * static_cast<double>(sum.same_best) / count);
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
  const int64_t room = options.chunk + (bos_id >= 0 ? 1 : 0);
  BATON_RETURN_IF_ERROR(run.Reserve(room));
  std::optional<ModelRun> reference;
  if (!options.reference.empty()) {
    const ModelRunOptions other{
        .model = options.run.model, .device = options.reference, .threads = options.run.threads};
    BATON_ASSIGN_OR_RETURN(reference, ModelRun::Load(other));
    BATON_RETURN_IF_ERROR(reference->Reserve(room));
  }
  const absl::Time begin = SystemClock::Get().Now();
  Sum sum;
  for (size_t at = 0; at < ids.size(); at += options.chunk) {
    BATON_RETURN_IF_ERROR(AddChunk(run, reference.has_value() ? &*reference : nullptr,
                                   absl::MakeConstSpan(ids).subspan(at, options.chunk), bos_id,
                                   sum));
  }
  std::printf("device:      %s\n", run.device_description().c_str());
  std::printf("tokens:      %zu in chunks of %d, %s\n", ids.size(), options.chunk,
              bos_id >= 0 ? "each after BOS" : "the first of each is not predicted");
  std::printf("predictions: %lld\n", static_cast<long long>(sum.predictions));
  std::printf("mean nll:    %.6f\n", sum.nll / static_cast<double>(sum.predictions));
  std::printf("perplexity:  %.5f\n", std::exp(sum.nll / static_cast<double>(sum.predictions)));
  if (reference.has_value()) PrintDistance(*reference, sum);
  std::printf("time:        %.2f s\n", absl::ToDoubleSeconds(SystemClock::Get().Now() - begin));
  return absl::OkStatus();
}

}  // namespace

void AddPerplexityCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<PerplexityOptions>();
  CLI::App* perplexity = app.add_subcommand(
      "perplexity",
      "Measure how well a model predicts a text: exp of the mean negative log-probability; and how "
      "far its predictions are from those on another device");
  perplexity->add_option("--model", options->run.model, "GGUF file with a tokenizer")->required();
  perplexity->add_option("--device", options->run.device, "cpu, p_chip or d_chip")
      ->check(CLI::IsMember({"cpu", "p_chip", "d_chip"}))
      ->capture_default_str();
  perplexity
      ->add_option("--reference", options->reference,
                   "also compute on this device, at its defaults, and print divergence and "
                   "agreement; cpu is the judge of accuracy")
      ->check(CLI::IsMember({"cpu", "p_chip", "d_chip"}));
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
