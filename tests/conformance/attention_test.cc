// Appending to the paged cache and attention over it.
#include <algorithm>

#include "tests/conformance/chips.h"

namespace baton::device {
namespace {

struct Shape {
  int32_t head_dim, kv_heads, group, block_tokens;
  DType dtype;
};

// Two sequences that share a pool of shuffled blocks: the first has `context` tokens, the
// second 37. Their last `fresh` tokens are appended in chunks of `chunk` and attended to; the
// earlier ones are appended first. Slots that nobody wrote hold NaN, which must not matter. Returns
// the outputs of the fresh rows of both.
std::vector<float> RunAttention(Device& device, const Shape& shape, int64_t context, int64_t fresh,
                                int64_t chunk) {
  const KvGeometry g{1, shape.kv_heads, shape.head_dim, shape.block_tokens, shape.dtype};
  const int64_t lengths[] = {context, 37};
  std::vector<std::vector<int32_t>> tables(2);
  int32_t blocks = 0;
  for (int s = 0; s < 2; ++s) {
    for (int64_t t = 0; t < lengths[s]; t += g.block_tokens) tables[s].push_back(blocks++);
  }
  for (auto& table : tables) {
    for (int32_t& block : table) block = blocks - 1 - block;
  }
  auto memory = device.Allocate(static_cast<size_t>(blocks * g.BlockLayerBytes()));
  EXPECT_TRUE(memory.ok());
  std::memset(memory->data(), 0xff, memory->bytes());  // NaN in both dtypes
  const PagedKvView kv{
      .geometry = g, .layer_base = static_cast<uint8_t*>(memory->data()), .blocks = blocks};
  const int64_t kv_cols = int64_t{g.kv_heads} * g.head_dim, q_cols = kv_cols * shape.group;
  RandomValues random(context * 31 + shape.head_dim);
  std::vector<std::vector<float>> keys, values, queries;
  for (const int64_t length : lengths) {
    keys.push_back(random.Many(length * kv_cols));
    values.push_back(random.Many(length * kv_cols));
    queries.push_back(random.Many(length * q_cols));
  }
  std::vector<std::vector<float>> outputs(2);
  int64_t done[2] = {0, 0};
  bool first = true;
  for (; done[0] < lengths[0] || done[1] < lengths[1]; first = false) {
    std::vector<SequenceRows> rows;
    std::vector<float> k, v, q;
    for (int s = 0; s < 2; ++s) {
      const int64_t old = std::max<int64_t>(lengths[s] - fresh, 0);
      const int64_t end = first ? old : std::min(done[s] + chunk, lengths[s]);
      if (done[s] == end) continue;
      rows.push_back({static_cast<int32_t>(k.size() / kv_cols), static_cast<int32_t>(end - done[s]),
                      done[s], tables[s].data(), static_cast<int32_t>(tables[s].size())});
      k.insert(k.end(), keys[s].begin() + done[s] * kv_cols, keys[s].begin() + end * kv_cols);
      v.insert(v.end(), values[s].begin() + done[s] * kv_cols, values[s].begin() + end * kv_cols);
      q.insert(q.end(), queries[s].begin() + done[s] * q_cols, queries[s].begin() + end * q_cols);
    }
    if (rows.empty()) continue;
    const int64_t n = static_cast<int64_t>(k.size()) / kv_cols;
    absl::Status status = device.AppendKv(
        {{k.data(), n, kv_cols, kv_cols}, {v.data(), n, kv_cols, kv_cols}, kv, rows});
    EXPECT_TRUE(status.ok()) << status;
    std::vector<float> out(static_cast<size_t>(n * q_cols));
    // Only fresh rows are attended to: the earlier ones would cost most of the time and show
    // nothing more.
    const bool attend = std::all_of(rows.begin(), rows.end(), [&](const SequenceRows& r) {
      return r.position >= lengths[r.block_table == tables[0].data() ? 0 : 1] - fresh;
    });
    if (attend) {
      status = device.Attention({.query = {q.data(), n, q_cols, q_cols},
                                 .kv = kv,
                                 .sequences = rows,
                                 .query_heads = shape.kv_heads * shape.group,
                                 .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim)),
                                 .out = {out.data(), n, q_cols, q_cols}});
      EXPECT_TRUE(status.ok()) << status;
    }
    for (const SequenceRows& r : rows) {
      const int s = r.block_table == tables[0].data() ? 0 : 1;
      done[s] = r.position + r.row_count;
      if (!attend) continue;
      outputs[s].insert(outputs[s].end(), out.begin() + r.row_begin * q_cols,
                        out.begin() + (r.row_begin + r.row_count) * q_cols);
    }
  }
  outputs[0].insert(outputs[0].end(), outputs[1].begin(), outputs[1].end());
  return outputs[0];
}

std::vector<Shape> Shapes() {
  return {{16, 1, 1, 16, DType::kF16},  {24, 2, 3, 32, DType::kF16}, {64, 3, 3, 32, DType::kF16},
          {80, 1, 7, 64, DType::kF16},  {96, 1, 4, 16, DType::kF16}, {128, 2, 4, 64, DType::kF16},
          {256, 1, 2, 32, DType::kF16}, {40, 2, 1, 16, DType::kF32}, {64, 1, 3, 64, DType::kF32}};
}

class AttentionConformance : public testing::TestWithParam<ChipUnderTest> {};

TEST_P(AttentionConformance, MatchesTheReferenceAtEveryEdgeOfTilesAndSpans) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  for (const Shape& shape : Shapes()) {
    for (const int64_t context : {1, 63, 64, 65, 255, 256, 257, 530}) {
      const std::vector<float> expected = RunAttention(*reference, shape, context, 3, 2);
      EXPECT_LE(LargestDifference(RunAttention(*chip, shape, context, 3, 2), expected), 5e-6)
          << "head_dim " << shape.head_dim << " context " << context;
    }
  }
}

TEST_P(AttentionConformance, HasTheSameBitsForAnyChunksChipAndBlockSize) {
  const auto chip = Make(GetParam());
  const auto scalar = Make({"d_chip", "scalar", 1});
  for (Shape shape : Shapes()) {
    const std::vector<float> expected = RunAttention(*scalar, shape, 300, 20, 20);
    for (const int64_t chunk : {1, 7, 20}) {
      EXPECT_TRUE(SameBits(RunAttention(*chip, shape, 300, 20, chunk), expected))
          << "head_dim " << shape.head_dim << " chunk " << chunk;
    }
    for (const int32_t block_tokens : {16, 32, 64}) {
      shape.block_tokens = block_tokens;
      EXPECT_TRUE(SameBits(RunAttention(*chip, shape, 300, 20, 20), expected))
          << "head_dim " << shape.head_dim << " blocks of " << block_tokens;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Chips, AttentionConformance, testing::ValuesIn(AllChips()), ChipName);

}  // namespace
}  // namespace baton::device
