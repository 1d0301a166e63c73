// Promise 1 at the level of a model: the bits of a sequence's logits, keys and values are the same
// whatever the batch around it, the chunking of its prompt, the number of threads, the instruction
// set and the chip.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "device/device_factory.h"
#include "models/model_registry.h"
#include "tests/fakes/contiguous_kv.h"
#include "tests/fakes/tiny_gguf.h"

namespace baton::models {
namespace {

constexpr int32_t kPromptTokens = 515;  // neither a multiple of a chunk nor of a block
constexpr int32_t kDecodeTokens = 5;
constexpr int32_t kSequences = 17;

// One way to compute the same thing.
struct Way {
  device::DeviceOptions device;
  int32_t chunk = 512;
  int32_t companions = 0;  // other sequences in every step

  std::string Text() const {
    return absl::StrCat(device.name, " ", device.isa, ", ", device.threads, " threads, chunk ",
                        chunk, ", ", companions, " companions");
  }
};

// What must be equal.
struct Outcome {
  std::vector<float> logits;  // after the prompt and after each decoded token
  std::vector<uint8_t> kv;    // keys and values of the sequence, all layers
};

std::vector<int32_t> Tokens(uint64_t seed, int32_t count, int32_t vocab) {
  std::vector<int32_t> tokens(count);
  SeededRng rng(seed);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Next() % vocab);
  return tokens;
}

// A model of the test's own making, or a golden checkpoint of that name.
struct Subject {
  fakes::TinyModel model;
  std::string checkpoint;
};

class Batching : public testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    if (!GetParam().checkpoint.empty()) {
      path_ = absl::StrCat(BATON_TEST_DATA, "/golden/", GetParam().checkpoint);
      return;
    }
    path_ = absl::StrCat(testing::TempDir(), "/batching_test_", getpid(), ".gguf");
    std::ofstream(path_, std::ios::binary) << fakes::TinyGguf(GetParam().model);
  }
  void TearDown() override {
    if (GetParam().checkpoint.empty()) std::remove(path_.c_str());
  }

  Outcome Compute(const Way& way);
  // The step's tokens of the sequence that counts, with the companions' in front of and behind
  // them.
  static ForwardBatch BatchOf(const fakes::ContiguousKv& kv, const Way& way,
                              const ForwardSequence& sequence, absl::Span<const int32_t> others);

  std::string path_;
};

ForwardBatch Batching::BatchOf(const fakes::ContiguousKv& kv, const Way& way,
                               const ForwardSequence& sequence, absl::Span<const int32_t> others) {
  ForwardBatch batch;
  batch.kv = kv.layers();
  for (int32_t i = 0; i < way.companions; ++i) {
    // Different positions and lengths. What a companion finds in its cache does not matter.
    batch.sequences.push_back({.tokens = others.subspan(i, 1 + i % 3),
                               .position = (sequence.position + 37 * i) % kPromptTokens,
                               .block_table = kv.table(1 + i),
                               .logits = LogitRows::kLast});
  }
  batch.sequences.insert(batch.sequences.begin() + way.companions / 2, sequence);
  return batch;
}

Outcome Batching::Compute(const Way& way) {
  Outcome outcome;
  auto device = device::CreateDevice(way.device);
  EXPECT_TRUE(device.ok()) << device.status();
  if (!device.ok()) return outcome;
  auto model = LoadModel(path_, **device, {.max_batch_tokens = 600});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return outcome;
  const ModelConfig& config = (*model)->config();
  auto kv = fakes::ContiguousKv::Create(**device, config, kSequences,
                                        kPromptTokens + kDecodeTokens + 8, 32, device::DType::kF16);
  EXPECT_TRUE(kv.ok()) << kv.status();
  if (!kv.ok()) return outcome;

  const int32_t total = kPromptTokens + kDecodeTokens;
  const std::vector<int32_t> tokens = Tokens(1, total, config.vocab_size);
  const std::vector<int32_t> others = Tokens(2, 64, config.vocab_size);
  for (int32_t begin = 0; begin < total;) {
    const bool prompt = begin < kPromptTokens;
    const int32_t step = prompt ? std::min(way.chunk, kPromptTokens - begin) : 1;
    const bool logits = begin + step >= kPromptTokens;
    const ForwardBatch batch = BatchOf(*kv, way,
                                       {.tokens = absl::MakeConstSpan(tokens).subspan(begin, step),
                                        .position = begin,
                                        .block_table = kv->table(0),
                                        .logits = logits ? LogitRows::kLast : LogitRows::kNone},
                                       others);
    device::ConstMatrixView rows;
    const absl::Status status = (*model)->Forward(batch, &rows);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) return outcome;
    if (logits) {
      const float* row = rows.row(way.companions / 2);
      outcome.logits.insert(outcome.logits.end(), row, row + rows.cols);
    }
    begin += step;
  }
  for (const device::PagedKvView& layer : kv->layers()) {
    for (const int32_t block : kv->table(0)) {
      const uint8_t* bytes = layer.keys(block);
      outcome.kv.insert(outcome.kv.end(), bytes, bytes + layer.geometry.BlockLayerBytes());
    }
  }
  return outcome;
}

void ExpectSameBits(const Outcome& expected, const Outcome& had, const std::string& how) {
  ASSERT_EQ(expected.logits.size(), had.logits.size()) << how;
  EXPECT_EQ(0, std::memcmp(expected.logits.data(), had.logits.data(),
                           expected.logits.size() * sizeof(float)))
      << "logits differ: " << how;
  EXPECT_TRUE(expected.kv == had.kv) << "keys or values differ: " << how;
}

TEST_P(Batching, BatchChunksThreadsInstructionSetAndChipDoNotChangeABit) {
  const Way alone = {.device = {.name = "d_chip"}};
  const Outcome expected = Compute(alone);
  ASSERT_FALSE(expected.logits.empty());
  std::vector<Way> ways;
  for (const std::string name : {"d_chip", "p_chip"}) {
    for (const int32_t chunk : {1, 7, 64, 512}) {
      ways.push_back({.device = {.name = name}, .chunk = chunk});
    }
    ways.push_back({.device = {.name = name}, .chunk = 64, .companions = kSequences - 1});
    ways.push_back({.device = {.name = name, .threads = 2}});
    ways.push_back({.device = {.name = name, .threads = 2}, .chunk = 7, .companions = 3});
    for (const std::string& isa : device::AvailableIsaLevels()) {
      ways.push_back({.device = {.name = name, .isa = isa}, .chunk = 64});
      ways.push_back({.device = {.name = name, .isa = isa}, .chunk = 512, .companions = 16});
    }
  }
  for (const Way& way : ways) ExpectSameBits(expected, Compute(way), way.Text());
}

TEST_P(Batching, LogitsOfAllRowsHoldTheBitsOfTheLastRowAlone) {
  for (const std::string name : {"d_chip", "p_chip"}) {
    const auto device = device::CreateDevice({.name = name});
    ASSERT_TRUE(device.ok()) << device.status();
    const auto model = LoadModel(path_, **device, {});
    ASSERT_TRUE(model.ok()) << model.status();
    const ModelConfig& config = (*model)->config();
    const auto kv = fakes::ContiguousKv::Create(**device, config, 1, 64, 16, device::DType::kF16);
    ASSERT_TRUE(kv.ok()) << kv.status();
    const std::vector<int32_t> tokens = Tokens(3, 40, config.vocab_size);
    const auto forward = [&](size_t count, LogitRows rows) {
      ForwardBatch batch;
      batch.kv = kv->layers();
      batch.sequences.push_back({.tokens = absl::MakeConstSpan(tokens).subspan(0, count),
                                 .block_table = kv->table(0),
                                 .logits = rows});
      device::ConstMatrixView logits;
      EXPECT_TRUE((*model)->Forward(batch, &logits).ok());
      return std::vector<float>(logits.data, logits.data + logits.rows * logits.cols);
    };
    const std::vector<float> all = forward(tokens.size(), LogitRows::kAll);
    ASSERT_EQ(all.size(), tokens.size() * config.vocab_size);
    for (const size_t count : {size_t{1}, size_t{17}, tokens.size()}) {
      const std::vector<float> last = forward(count, LogitRows::kLast);
      ASSERT_EQ(last.size(), static_cast<size_t>(config.vocab_size));
      EXPECT_EQ(0, std::memcmp(last.data(), &all[(count - 1) * config.vocab_size],
                               last.size() * sizeof(float)))
          << name << " row " << count - 1;
    }
    EXPECT_TRUE(forward(tokens.size(), LogitRows::kNone).empty());
  }
}

Subject WithType(GgmlType type) {
  Subject subject;
  subject.model.type = type;
  return subject;
}

// A vocabulary and a feed-forward layer that fill no tile, 3 KV heads, a hidden size that is no
// multiple of 32.
Subject OddShapes() {
  fakes::TinyModel model;
  model.type = GgmlType::kF16;
  model.layers = 2;
  model.hidden = 72;
  model.query_heads = 9;
  model.kv_heads = 3;
  model.head_dim = 24;
  model.intermediate = 101;
  model.vocab = 301;
  model.tied = true;
  model.biases = true;
  model.tokenizer = false;
  return {.model = model};
}

// Mixtures of experts of every way of routing, and latent attention.
Subject Golden(const std::string& checkpoint) { return {.checkpoint = checkpoint}; }

std::string NameOf(const testing::TestParamInfo<Subject>& info) {
  if (!info.param.checkpoint.empty()) return info.param.checkpoint;
  return absl::StrCat(GgmlTypeName(info.param.model.type), "_hidden", info.param.model.hidden);
}

INSTANTIATE_TEST_SUITE_P(Models, Batching,
                         testing::Values(WithType(GgmlType::kQ4_1), WithType(GgmlType::kQ4_0),
                                         WithType(GgmlType::kQ8_0), WithType(GgmlType::kF16),
                                         WithType(GgmlType::kF32), OddShapes(), Golden("qwen3_moe"),
                                         Golden("deepseek_v3"), Golden("gpt_oss_mxfp4")),
                         NameOf);

}  // namespace
}  // namespace baton::models
