// Appending to the paged cache and attention over it.
#include "tests/conformance/paged_attention.h"

namespace baton::device {
namespace {

std::vector<AttentionShape> Shapes() {
  return {{16, 1, 1, 16, DType::kF16},
          {24, 2, 3, 32, DType::kF16},
          {64, 3, 3, 32, DType::kF16},
          {80, 1, 7, 64, DType::kF16},
          {96, 1, 4, 16, DType::kF16},
          {128, 2, 4, 64, DType::kF16},
          {256, 1, 2, 32, DType::kF16},
          {40, 2, 1, 16, DType::kF32},
          {64, 1, 3, 64, DType::kF32},
          // Latent caches, and sinks.
          {40, 1, 3, 16, DType::kF16, 24, false},
          {43, 1, 2, 32, DType::kF32, 33, false},
          {64, 2, 3, 32, DType::kF16, 0, true},
          {48, 1, 5, 16, DType::kF32, 32, true},
          // Windows: of one key, within a tile, over tiles and over spans.
          {32, 1, 3, 16, DType::kF16, 0, false, 1},
          {64, 2, 2, 32, DType::kF16, 0, true, 40},
          {16, 1, 5, 64, DType::kF32, 0, false, 129},
          {40, 1, 2, 16, DType::kF16, 24, false, 300},
          // Bfloat16: what a matrix unit takes, and what it does not.
          {64, 2, 3, 32, DType::kBF16},
          {128, 1, 7, 16, DType::kBF16, 0, true},
          {32, 1, 3, 64, DType::kBF16, 0, true, 40},
          {43, 1, 2, 32, DType::kBF16},
          {48, 1, 5, 16, DType::kBF16, 32, true}};
}

class AttentionConformance : public testing::TestWithParam<ChipUnderTest> {};

TEST_P(AttentionConformance, MatchesTheReferenceAtEveryEdgeOfTilesAndSpans) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  for (const AttentionShape& shape : Shapes()) {
    for (const int64_t context : {1, 63, 64, 65, 255, 256, 257, 530, 1000}) {
      const std::vector<float> expected = RunAttention(*reference, shape, context, 3, 2);
      // Beside caches of bfloat16 queries and weights have eight bits too (docs/numerics.md).
      const double allowed = shape.dtype == DType::kBF16 ? 0.02 : 5e-6;
      EXPECT_LE(LargestDifference(RunAttention(*chip, shape, context, 3, 2), expected), allowed)
          << "head_dim " << shape.head_dim << " context " << context;
    }
  }
}

TEST_P(AttentionConformance, HasTheSameBitsForAnyChunksChipAndBlockSize) {
  const auto chip = Make(GetParam());
  const auto scalar = Make({"d_chip", "scalar", 1});
  for (AttentionShape shape : Shapes()) {
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

// A whole prompt as a prefill node computes it, against one token at a time as a decode node does.
TEST_P(AttentionConformance, APromptHasTheSameBitsInStepsOf1Or7Or64Or512Tokens) {
  const auto chip = Make(GetParam());
  const auto decode = Make({"d_chip", AvailableIsaLevels().front(), 1});
  constexpr int64_t kPrompt = 523;
  for (const auto& [dtype, window] :
       {std::pair(DType::kF16, 0), std::pair(DType::kF16, 100), std::pair(DType::kBF16, 100)}) {
    const AttentionShape shape{64, 1, 3, 16, dtype, 0, false, window};
    const std::vector<float> expected = RunAttention(*decode, shape, kPrompt, kPrompt, 1);
    ASSERT_EQ(expected.size(), static_cast<size_t>((kPrompt + 37) * 64 * 3));
    for (const int64_t chunk : {1, 7, 64, 512}) {
      EXPECT_TRUE(SameBits(RunAttention(*chip, shape, kPrompt, kPrompt, chunk), expected))
          << "chunk " << chunk << " window " << window;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Chips, AttentionConformance, testing::ValuesIn(AllChips()), ChipName);

}  // namespace
}  // namespace baton::device
