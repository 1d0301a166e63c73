#include "bench/model/model_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "device/device_factory.h"
#include "kvcache/block_pool.h"
#include "kvcache/block_table.h"
#include "kvcache/kv_store.h"
#include "models/model_registry.h"

namespace baton::bench {
namespace {

struct Options {
  std::string model;
  std::string device = "p_chip";
  std::string isa;
  int threads = 1;
  int32_t prompt = 512;
  int32_t generate = 64;
  int32_t context =
      0;  // tokens already in the cache before the generated ones; 0: as many as the prompt
  std::vector<int32_t> contexts;  // print costs at these, over a cache of random numbers
  int32_t batch = 1;              // sequences decoded together
  int32_t block_tokens = 32;
  std::string kv = "f16";
  int runs = 3;
  bool cpu_time = false;  // time the CPUs' work instead of the wall clock
};

// A model with a KV pool large enough for the run.
struct Bench {
  std::unique_ptr<device::Device> device;
  std::unique_ptr<models::Model> model;
  std::unique_ptr<kvcache::KvStore> store;
  std::vector<int32_t>
      block_table;  // consecutive blocks; sequence s starts at s * blocks_per_sequence
  int32_t blocks_per_sequence = 0;
  std::vector<int32_t> tokens;  // seeded ids, longer than any run needs

  absl::Span<const int32_t> TableOf(int32_t sequence) const {
    return absl::MakeConstSpan(block_table)
        .subspan(size_t(sequence) * blocks_per_sequence, blocks_per_sequence);
  }
};

// `length`: the most positions of a sequence.
absl::StatusOr<Bench> Load(const Options& options, int32_t length) {
  Bench bench;
  BATON_ASSIGN_OR_RETURN(
      bench.device, device::CreateDevice(
                        {.name = options.device, .threads = options.threads, .isa = options.isa}));
  models::LoadOptions load;
  load.max_batch_tokens = std::max(512, options.batch);
  BATON_ASSIGN_OR_RETURN(bench.model, models::LoadModel(options.model, *bench.device, load));
  const models::ModelConfig& config = bench.model->config();
  if (length > config.context_length) {
    return absl::InvalidArgumentError(absl::StrCat(
        "bench model: needs ", length, " positions, the model has ", config.context_length));
  }
  bench.blocks_per_sequence = kvcache::BlocksFor(length, options.block_tokens);
  const int32_t blocks = bench.blocks_per_sequence * options.batch;
  const device::KvGeometry geometry{
      .layers = config.layers,
      .kv_heads = config.kv_heads,
      .head_dim = config.head_dim,
      .block_tokens = options.block_tokens,
      .dtype = options.kv == "bf16" ? device::DType::kBF16 : device::DType::kF16,
      .latent_dim = config.kv_latent_dim};
  BATON_ASSIGN_OR_RETURN(bench.store, kvcache::KvStore::Create(*bench.device, geometry, blocks));
  for (int32_t block = 0; block < blocks; ++block) bench.block_table.push_back(block);
  SeededRng rng(1);
  for (int32_t i = 0; i < length; ++i) {
    bench.tokens.push_back(static_cast<int32_t>(rng.Next() % config.vocab_size));
  }
  return bench;
}

// Runs `count` tokens from position 0 in steps of at most 512; the logits of the last one are
// computed, as a server needs them.
absl::Status RunPrompt(Bench& bench, int32_t sequence, int32_t count) {
  for (int32_t begin = 0; begin < count; begin += 512) {
    const int32_t step = std::min(512, count - begin);
    models::ForwardBatch batch;
    batch.kv = bench.store->layers();
    batch.sequences.push_back(
        {.tokens = absl::MakeConstSpan(bench.tokens).subspan(begin, step),
         .position = begin,
         .block_table = bench.TableOf(sequence),
         .logits = begin + step == count ? models::LogitRows::kLast : models::LogitRows::kNone});
    device::ConstMatrixView logits;
    BATON_RETURN_IF_ERROR(bench.model->Forward(batch, &logits));
  }
  return absl::OkStatus();
}

absl::Status RunDecode(Bench& bench, const Options& options, int32_t context) {
  for (int32_t i = 0; i < options.generate; ++i) {
    models::ForwardBatch batch;
    batch.kv = bench.store->layers();
    for (int32_t s = 0; s < options.batch; ++s) {
      batch.sequences.push_back(
          {.tokens = absl::MakeConstSpan(bench.tokens).subspan(context + i, 1),
           .position = context + i,
           .block_table = bench.TableOf(s)});
    }
    device::ConstMatrixView logits;
    BATON_RETURN_IF_ERROR(bench.model->Forward(batch, &logits));
  }
  return absl::OkStatus();
}

// Seconds since some moment: of the wall clock, or of the process's work.
double Now(const Options& options) {
  if (!options.cpu_time) return absl::ToDoubleSeconds(SystemClock::Get().Now() - absl::UnixEpoch());
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

absl::StatusOr<nlohmann::ordered_json> Measure(const Options& options) {
  const int32_t length = std::max(options.prompt, options.context) + options.generate + 1;
  BATON_ASSIGN_OR_RETURN(Bench bench, Load(options, length));
  const int32_t context = options.context > 0 ? options.context : options.prompt;
  for (int32_t s = 0; s < options.batch; ++s) {
    BATON_RETURN_IF_ERROR(RunPrompt(bench, s, context));  // fills the cache and warms the CPU
  }
  std::vector<double> prefill, decode;
  for (int run = 0; run < options.runs; ++run) {
    if (options.generate > 0) {
      const double begin = Now(options);
      BATON_RETURN_IF_ERROR(RunDecode(bench, options, context));
      decode.push_back(double(options.generate) * options.batch / (Now(options) - begin));
    }
    if (options.prompt > 0) {
      const double begin = Now(options);
      BATON_RETURN_IF_ERROR(RunPrompt(bench, 0, options.prompt));
      prefill.push_back(options.prompt / (Now(options) - begin));
    }
  }
  nlohmann::ordered_json result;
  result["device"] = bench.device->description();
  result["threads"] = options.threads;
  result["prompt_tokens"] = options.prompt;
  result["generated_tokens"] = options.generate;
  result["context"] = context;
  result["batch"] = options.batch;
  result["kv"] = options.kv;
  result["clock"] = options.cpu_time ? "cpu" : "wall";
  result["prefill_tokens_per_s"] = prefill;
  result["decode_tokens_per_s"] = decode;
  result["prefill_tokens_per_s_median"] = Median(prefill);
  result["decode_tokens_per_s_median"] = Median(decode);
  return result;
}

// Fills the cache with random numbers of [-1, 1]: attention costs what it costs with real ones.
void FillCache(Bench& bench) {
  SeededRng rng(2);
  std::vector<uint16_t> noise(1 << 16);
  for (uint16_t& half : noise) {
    half = device::FloatToHalf(static_cast<float>(rng.Next() >> 40) * 0x1p-23f - 1);
  }
  const int64_t noise_bytes = static_cast<int64_t>(noise.size() * sizeof(uint16_t));
  for (const device::PagedKvView& layer : bench.store->layers()) {
    const int64_t bytes = layer.geometry.BlockLayerBytes();
    for (int32_t block = 0; block < layer.blocks; ++block) {
      for (int64_t at = 0; at < bytes; at += noise_bytes) {
        std::memcpy(layer.keys(block) + at, noise.data(), std::min(bytes - at, noise_bytes));
      }
    }
  }
}

// Seconds of one step of `count` tokens behind `context` cached ones; the median of all runs.
absl::StatusOr<double> StepSeconds(Bench& bench, const Options& options, int32_t context,
                                   int32_t count) {
  std::vector<double> seconds;
  for (int run = 0; run <= options.runs; ++run) {
    models::ForwardBatch batch;
    batch.kv = bench.store->layers();
    batch.sequences.push_back({.tokens = absl::MakeConstSpan(bench.tokens).subspan(0, count),
                               .position = context,
                               .block_table = bench.TableOf(0)});
    device::ConstMatrixView logits;
    const double begin = Now(options);
    BATON_RETURN_IF_ERROR(bench.model->Forward(batch, &logits));
    if (run > 0) seconds.push_back(Now(options) - begin);  // the first warms up
  }
  return Median(seconds);
}

// One line a context: what the next token costs in decode, and a token of the next prompt chunk.
absl::Status PrintContexts(const Options& options) {
  constexpr int32_t kChunk = 512;
  const int32_t longest = *std::max_element(options.contexts.begin(), options.contexts.end());
  BATON_ASSIGN_OR_RETURN(Bench bench, Load(options, longest + kChunk));
  FillCache(bench);
  const models::ModelConfig& config = bench.model->config();
  const device::KvGeometry& geometry = bench.store->layers()[0].geometry;
  const int64_t kv_bytes = geometry.BlockLayerBytes() * config.layers / geometry.block_tokens;
  std::printf("%s, KV cache %lld bytes a token, rotary table %d bytes a position\n",
              bench.device->description().c_str(), static_cast<long long>(kv_bytes),
              config.rope.rotary_dim * static_cast<int>(sizeof(float)));
  std::printf("%10s %18s %18s %14s\n", "context", "decode ms/token", "prefill ms/token", "KV MiB");
  for (const int32_t context : options.contexts) {
    BATON_ASSIGN_OR_RETURN(const double decode, StepSeconds(bench, options, context, 1));
    BATON_ASSIGN_OR_RETURN(const double prefill, StepSeconds(bench, options, context, kChunk));
    std::printf("%10d %18.4f %18.4f %14.1f\n", context, 1e3 * decode, 1e3 * prefill / kChunk,
                static_cast<double>(kv_bytes) * context / (1 << 20));
  }
  return absl::OkStatus();
}

}  // namespace

void AddModelCommand(CLI::App& bench, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* app = bench.add_subcommand(
      "model", "Time prefill and decode of a model on one device, in tokens per second");
  app->add_option("--model", options->model, "GGUF file or folder")->required();
  app->add_option("--device", options->device, "cpu, p_chip or d_chip")->capture_default_str();
  app->add_option("--isa", options->isa, "force scalar, avx2, avxvnni, avx512vnni or amx");
  app->add_option("--threads", options->threads, "compute threads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app->add_option("--prompt", options->prompt, "prompt tokens; 0: no prefill is timed")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app->add_option("--generate", options->generate, "decode steps; 0: no decode is timed")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app->add_option("--context", options->context, "cached tokens before decoding; 0: as the prompt")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app->add_option("--contexts", options->contexts,
                  "instead: print the cost of a token behind so many cached ones, random numbers")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  app->add_flag(
      "--cpu-time", options->cpu_time,
      "count the CPUs' time, not the wall's: on a machine with other work, for one thread");
  app->add_option("--batch", options->batch, "sequences decoded together")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_option("--block-tokens", options->block_tokens, "tokens in a KV block")
      ->check(CLI::IsMember({16, 32, 64}))
      ->capture_default_str();
  app->add_option("--kv", options->kv, "what keys and values are stored as")
      ->check(CLI::IsMember({"f16", "bf16"}))
      ->capture_default_str();
  app->add_option("--runs", options->runs, "repetitions; the median is reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->callback([options, exit_code] {
    if (!options->contexts.empty()) {
      const absl::Status printed = PrintContexts(*options);
      if (printed.ok()) return;
      std::fprintf(stderr, "baton bench model: %s\n", std::string(printed.message()).c_str());
      *exit_code = 1;
      return;
    }
    const absl::StatusOr<nlohmann::ordered_json> result = Measure(*options);
    if (!result.ok()) {
      std::fprintf(stderr, "baton bench model: %s\n",
                   std::string(result.status().message()).c_str());
      *exit_code = 1;
      return;
    }
    std::printf("%s\n", result->dump(2).c_str());
  });
}

}  // namespace baton::bench
