#include "tests/fakes/fake_model.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace baton::fakes {
namespace {

constexpr int32_t kLayers = 2;
constexpr int32_t kHeadDim = 4;  // of 2 bytes: one word

uint64_t KeyWord(int32_t layer, int32_t token, int64_t position) {
  return CounterRandom(static_cast<uint64_t>(token) * kLayers + layer, position);
}

// Keys are [head_dim][block_tokens]: the word's four pieces lie in four rows.
void WriteKey(const device::PagedKvView& kv, int32_t block, int64_t slot, uint64_t word) {
  for (int32_t row = 0; row < kHeadDim; ++row) {
    const uint16_t piece = static_cast<uint16_t>(word >> (16 * row));
    std::memcpy(kv.keys(block) + (row * kv.geometry.block_tokens + slot) * 2, &piece, 2);
  }
}

uint64_t ReadKey(const device::PagedKvView& kv, int32_t block, int64_t slot) {
  uint64_t word = 0;
  for (int32_t row = 0; row < kHeadDim; ++row) {
    uint16_t piece;
    std::memcpy(&piece, kv.keys(block) + (row * kv.geometry.block_tokens + slot) * 2, 2);
    word |= uint64_t{piece} << (16 * row);
  }
  return word;
}

void WriteLayer(const models::ForwardSequence& s, const device::PagedKvView& kv, int32_t layer) {
  for (size_t i = 0; i < s.tokens.size(); ++i) {
    const int64_t position = s.position + static_cast<int64_t>(i);
    const int32_t block = s.block_table[position / kv.geometry.block_tokens];
    const int64_t slot = position % kv.geometry.block_tokens;
    const int32_t value[2] = {s.tokens[i], static_cast<int32_t>(position)};
    WriteKey(kv, block, slot, KeyWord(layer, s.tokens[i], position));
    std::memcpy(kv.values(block) + slot * sizeof(value), value, sizeof(value));
  }
}

// A hash of what the blocks hold for the positions before `end`.
absl::StatusOr<uint64_t> HashOf(const models::ForwardBatch& batch, const models::ForwardSequence& s,
                                int64_t end) {
  uint64_t hash = 0;
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    const device::PagedKvView& kv = batch.kv[layer];
    for (int64_t position = 0; position < end; ++position) {
      const int32_t block = s.block_table[position / kv.geometry.block_tokens];
      const int64_t slot = position % kv.geometry.block_tokens;
      int32_t value[2];
      std::memcpy(value, kv.values(block) + slot * sizeof(value), sizeof(value));
      if (value[1] != position || ReadKey(kv, block, slot) != KeyWord(layer, value[0], position)) {
        return absl::InternalError(absl::StrCat("fake model: layer ", layer, ", position ",
                                                position, ", block ", block,
                                                ": not what the sequence wrote"));
      }
      hash = CounterRandom(hash, static_cast<uint64_t>(value[0]));
    }
  }
  return hash;
}

void WriteHidden(uint64_t hash, absl::Span<float> row) {
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<float>(CounterRandom(hash, i) >> 40) * 0x1p-23f - 1.0f;  // -1 .. 1
  }
}

}  // namespace

device::KvGeometry FakeModelGeometry(int32_t block_tokens) {
  return {.layers = kLayers,
          .kv_heads = 1,
          .head_dim = kHeadDim,
          .block_tokens = block_tokens,
          .dtype = device::DType::kF16};
}

FakeModel::FakeModel(int32_t max_batch_tokens, int64_t context_length, int32_t vocab_size)
    : max_batch_tokens_(max_batch_tokens) {
  config_.architecture = "fake";
  config_.name = "fake";
  config_.layers = kLayers;
  config_.kv_heads = 1;
  config_.head_dim = kHeadDim;
  config_.vocab_size = vocab_size;
  config_.hidden = 8;
  config_.context_length = context_length;
  config_.fingerprint = 0xfa4e;
}

absl::Status FakeModel::Check(const models::ForwardBatch& batch) const {
  int64_t tokens = 0;
  for (const models::ForwardSequence& s : batch.sequences) {
    const int64_t end = s.position + static_cast<int64_t>(s.tokens.size());
    tokens += static_cast<int64_t>(s.tokens.size());
    const int64_t covered =
        static_cast<int64_t>(s.block_table.size()) * batch.kv[0].geometry.block_tokens;
    if (s.tokens.empty() || end > config_.context_length || end > covered) {
      return absl::InvalidArgumentError(absl::StrCat("fake model: ", s.tokens.size(), " tokens at ",
                                                     s.position, ", blocks for ", covered));
    }
    for (const int32_t id : s.tokens) {
      if (id < 0 || id >= config_.vocab_size) return absl::InvalidArgumentError("fake model: id");
    }
  }
  if (tokens <= max_batch_tokens_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("fake model: batch of ", tokens));
}

absl::Status FakeModel::Forward(const models::ForwardBatch& batch,
                                device::ConstMatrixView* logits) {
  if (before_forward) BATON_RETURN_IF_ERROR(before_forward(batch));
  BATON_RETURN_IF_ERROR(Check(batch));
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    for (const models::ForwardSequence& s : batch.sequences) WriteLayer(s, batch.kv[layer], layer);
    if (batch.on_layer_written) batch.on_layer_written(layer);
  }
  logits_.clear();
  for (const models::ForwardSequence& s : batch.sequences) {
    const int64_t end = s.position + static_cast<int64_t>(s.tokens.size());
    // A row a token of the step, or the last one's.
    int64_t row_end = s.logits == models::LogitRows::kAll ? s.position + 1 : end;
    for (; row_end <= end; ++row_end) {
      BATON_ASSIGN_OR_RETURN(const uint64_t hash, HashOf(batch, s, row_end));
      if (s.logits == models::LogitRows::kNone) continue;
      if (!s.hidden.empty()) {
        const int64_t first = s.logits == models::LogitRows::kAll ? s.position + 1 : end;
        WriteHidden(hash, s.hidden.subspan((row_end - first) * config_.hidden, config_.hidden));
        continue;
      }
      for (int32_t id = 0; id < config_.vocab_size; ++id) {
        const uint64_t word = CounterRandom(hash, static_cast<uint64_t>(id));
        logits_.push_back(static_cast<float>(word >> 40) * 0x1p-21f - 4.0f);  // -4 .. 4
      }
    }
    const bool poisoned = s.tokens.back() == poison_token && s.hidden.empty();
    if (s.logits != models::LogitRows::kNone && poisoned) {
      logits_[logits_.size() - config_.vocab_size] = NAN;
    }
  }
  const int64_t rows = static_cast<int64_t>(logits_.size()) / config_.vocab_size;
  *logits = {logits_.data(), rows, config_.vocab_size, config_.vocab_size};
  return absl::OkStatus();
}

}  // namespace baton::fakes
