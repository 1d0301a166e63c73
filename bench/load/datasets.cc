#include "bench/load/datasets.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "bench/load/prompt_writer.h"
#include "bench/load/trace_file.h"

namespace baton::bench {
namespace {

// Uniform in [length * (1 - ratio), length * (1 + ratio)], as in vLLM.
int64_t DrawLength(int64_t length, double ratio, std::mt19937_64& random) {
  const auto low = static_cast<int64_t>(std::floor(static_cast<double>(length) * (1 - ratio)));
  const auto high = static_cast<int64_t>(std::ceil(static_cast<double>(length) * (1 + ratio)));
  const int64_t drawn =
      low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  return std::max<int64_t>(1, drawn);
}

// random and text: a prefix that all share, then a text of its own.
absl::StatusOr<PromptSet> MakeWritten(const ServeOptions& options, PromptWriter& writer) {
  const PromptWriter::Style style =
      options.dataset_name == "random" ? PromptWriter::Style::kRandom : PromptWriter::Style::kVerse;
  std::mt19937_64 random(options.seed);
  WrittenText prefix;
  if (options.random_prefix_len > 0) {
    BATON_ASSIGN_OR_RETURN(prefix, writer.Write(style, options.random_prefix_len,
                                                CounterRandom(options.seed, ~uint64_t{0})));
    prefix.text += style == PromptWriter::Style::kRandom ? " " : "\n";
  }
  PromptSet set;
  for (int i = 0; i < options.num_prompts; ++i) {
    Prompt prompt;
    const int64_t input = DrawLength(options.random_input_len, options.random_range_ratio, random);
    prompt.output_tokens =
        DrawLength(options.random_output_len, options.random_range_ratio, random);
    BATON_ASSIGN_OR_RETURN(WrittenText own,
                           writer.Write(style, input, CounterRandom(options.seed, i)));
    prompt.input_tokens = prefix.tokens + own.tokens;
    prompt.text = absl::StrCat(prefix.text, own.text);
    set.prompts.push_back(std::move(prompt));
  }
  set.length_note = writer.LengthNote();
  return set;
}

int64_t Scaled(int64_t tokens, double scale) {
  return std::max<int64_t>(1, std::llround(static_cast<double>(tokens) * scale));
}

// Each block id stands for the same text wherever it occurs, so that shared prefixes stay shared.
std::string TraceText(const TraceEntry& entry, int64_t tokens, double scale, uint64_t seed,
                      uint64_t index, const PromptWriter& writer) {
  if (entry.block_ids.empty()) return writer.Words(tokens, CounterRandom(seed, index));
  const int64_t block_tokens = Scaled(kTraceBlockTokens, scale);
  std::string text;
  for (size_t i = 0; i < entry.block_ids.size() && tokens > 0; ++i) {
    const bool is_last = i + 1 == entry.block_ids.size();
    const int64_t count = is_last ? tokens : std::min(tokens, block_tokens);
    const auto block_seed = CounterRandom(seed, static_cast<uint64_t>(entry.block_ids[i]));
    absl::StrAppend(&text, text.empty() ? "" : " ", writer.Words(count, block_seed));
    tokens -= count;
  }
  return text;
}

absl::StatusOr<PromptSet> MakeTrace(const ServeOptions& options, const PromptWriter& writer) {
  BATON_ASSIGN_OR_RETURN(const std::vector<TraceEntry> entries,
                         ReadTrace(options.dataset_path, options.num_prompts));
  PromptSet set;
  set.has_times = true;
  for (size_t i = 0; i < entries.size(); ++i) {
    Prompt prompt;
    prompt.send_at_s = entries[i].at_s * options.trace_time_scale;
    prompt.input_tokens = Scaled(entries[i].input_tokens, options.trace_length_scale);
    prompt.output_tokens = Scaled(entries[i].output_tokens, options.trace_length_scale);
    prompt.text = TraceText(entries[i], prompt.input_tokens, options.trace_length_scale,
                            options.seed, i, writer);
    set.prompts.push_back(std::move(prompt));
  }
  set.length_note = absl::StrCat("words of the trace's lengths, ", writer.LengthNote());
  return set;
}

}  // namespace

absl::StatusOr<PromptSet> MakePrompts(const ServeOptions& options, TokenCounter* counter) {
  PromptWriter writer(counter);
  BATON_RETURN_IF_ERROR(writer.Calibrate());
  if (options.dataset_name == "trace") return MakeTrace(options, writer);
  return MakeWritten(options, writer);
}

}  // namespace baton::bench
