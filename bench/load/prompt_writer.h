// Writes texts of a wanted number of tokens.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/load/token_counter.h"

namespace baton::bench {

// A text and how many tokens it has (or is believed to have).
struct WrittenText {
  std::string text;
  int64_t tokens = 0;
};

class PromptWriter {
 public:
  enum class Style {
    kRandom,  // common words in no order
    kVerse,   // rhythmic lines of made-up sentences
  };

  // Without a counter one word counts as one token. The counter must outlive the writer.
  explicit PromptWriter(TokenCounter* counter) : counter_(counter) {}

  // Keeps only the words that are one token in the measured model. Errors are those of the counter.
  absl::Status Calibrate();

  // A text of `tokens` tokens (exactly for kRandom where a counter says so; within a word
  // otherwise), the same for the same seed.
  absl::StatusOr<WrittenText> Write(Style style, int64_t tokens, uint64_t seed);

  // As Write for kRandom, but trusts the calibrated words and asks nobody.
  std::string Words(int64_t count, uint64_t seed) const;

  // For the report.
  std::string LengthNote() const;

 private:
  absl::Status KeepSingleTokens(const std::vector<std::string>& words,
                                std::vector<std::string>& kept);
  std::vector<std::string> Pieces(Style style, int64_t count, uint64_t seed) const;

  TokenCounter* counter_;
  std::vector<std::string> words_ = AllWords();

  static std::vector<std::string> AllWords();
};

}  // namespace baton::bench
