// Every argument that an op refuses, by the words of the refusal; next to each, what it accepts.
#include "device/op_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace baton::device {
namespace {

class ShapeOnlyWeight final : public Weight {
 public:
  ShapeOnlyWeight(int64_t rows, int64_t cols) : Weight(DType::kF32, rows, cols, 0) {}
};

MATCHER_P(Refuses, words, "is InvalidArgument that says \"" + std::string(words) + "\"") {
  *result_listener << "which is " << arg.ToString();
  return arg.code() == absl::StatusCode::kInvalidArgument &&
         std::string(arg.message()).find(words) != std::string::npos;
}

// Valid arguments, of which each test spoils one at a time.
class OpChecks : public testing::Test {
 protected:
  static MatrixView Matrix(float* data, int64_t rows, int64_t cols) {
    return {data, rows, cols, cols};
  }

  float memory_[1024] = {};
  float gain_[64] = {};
  uint8_t kv_memory_[16] = {};  // never touched by the checks
  ShapeOnlyWeight weight_{8, 6};
  ShapeOnlyWeight other_{8, 6};
  std::vector<int32_t> ids_ = {0, 7, 3};
  int32_t table_[3] = {4, 0, 2};
  // 3 rows of one sequence at 14, then 2 rows of another at 0; blocks of 16 tokens.
  std::vector<SequenceRows> sequences_ = {{0, 3, 14, table_, 2}, {3, 2, 0, table_ + 2, 1}};
  PagedKvView kv_{.geometry = {.layers = 1, .kv_heads = 2, .head_dim = 4, .block_tokens = 16},
                  .layer_base = kv_memory_,
                  .blocks = 5};

  EmbedArgs embed_{&weight_, ids_, Matrix(memory_, 3, 6)};
  RmsNormArgs norm_{Matrix(memory_, 3, 6), {gain_, 1e-5f}, Matrix(memory_ + 64, 3, 6)};
  LinearArgs::Part part_{&weight_, nullptr, Matrix(memory_ + 64, 3, 8)};
  LinearArgs linear_{Matrix(memory_, 3, 6), {gain_, 1e-5f}, {&part_, 1}};
  GatedLinearArgs gated_{Matrix(memory_, 3, 6),     {}, &weight_, &other_, Activation::kSilu,
                         Matrix(memory_ + 64, 3, 8)};
  RopeArgs rope_{Matrix(memory_, 5, 8),       4,         2, RopeStyle::kHalf,
                 Matrix(memory_ + 64, 17, 2), sequences_};
  AppendKvArgs append_{Matrix(memory_, 5, 8), Matrix(memory_ + 64, 5, 8), kv_, sequences_};
  AttentionArgs attention_{Matrix(memory_, 5, 24),      kv_, sequences_, 6, 0.5f,
                           Matrix(memory_ + 256, 5, 24)};
  GatherRowsArgs gather_{Matrix(memory_, 8, 6), ids_, Matrix(memory_ + 64, 3, 6)};
};

TEST_F(OpChecks, AcceptWhatTheOtherTestsSpoil) {
  EXPECT_TRUE(Validate(embed_).ok()) << Validate(embed_);
  EXPECT_TRUE(Validate(norm_).ok()) << Validate(norm_);
  EXPECT_TRUE(Validate(linear_).ok()) << Validate(linear_);
  EXPECT_TRUE(Validate(gated_).ok()) << Validate(gated_);
  EXPECT_TRUE(Validate(rope_).ok()) << Validate(rope_);
  EXPECT_TRUE(Validate(append_).ok()) << Validate(append_);
  EXPECT_TRUE(Validate(attention_).ok()) << Validate(attention_);
  EXPECT_TRUE(Validate(gather_).ok()) << Validate(gather_);
}

TEST_F(OpChecks, AcceptStridesBeyondTheColumnsAndANormInPlace) {
  norm_.in = {memory_, 3, 6, 9};
  norm_.out = {memory_, 3, 6, 9};
  EXPECT_TRUE(Validate(norm_).ok());
}

TEST_F(OpChecks, EmbedNeedsATableIdsWithinItAndRoomForThem) {
  EmbedArgs args = embed_;
  args.table = nullptr;
  EXPECT_THAT(Validate(args), Refuses("embed.table is null"));
  args = embed_;
  args.ids = {};
  EXPECT_THAT(Validate(args), Refuses("embed.ids is empty"));
  args = embed_;
  args.out.rows = 2;
  EXPECT_THAT(Validate(args), Refuses("embed.out is [2, 6], needs [3, 6]"));
  for (const int32_t id : {-1, 8}) {
    ids_[1] = id;
    EXPECT_THAT(Validate(embed_), Refuses("embed.ids: " + std::to_string(id)));
  }
}

TEST_F(OpChecks, MatricesNeedMemoryASizeAndAStride) {
  RmsNormArgs args = norm_;
  args.in.data = nullptr;
  EXPECT_THAT(Validate(args), Refuses("rms_norm.in is null"));
  args = norm_;
  args.out.data = nullptr;
  EXPECT_THAT(Validate(args), Refuses("rms_norm.out is null"));
  for (const int64_t size : {int64_t{0}, int64_t{-3}}) {
    args = norm_;
    args.in.rows = size;
    EXPECT_THAT(Validate(args), Refuses("at least one row"));
    args = norm_;
    args.in.cols = size;
    EXPECT_THAT(Validate(args), Refuses("at least one row"));
  }
  args = norm_;
  args.in.stride = 5;
  EXPECT_THAT(Validate(args), Refuses("rms_norm.in has stride 5, needs at least 6"));
}

TEST_F(OpChecks, RmsNormNeedsAGainAndAnEpsilonThatMakesSense) {
  RmsNormArgs args = norm_;
  args.norm.gain = nullptr;
  EXPECT_THAT(Validate(args), Refuses("rms_norm.norm.gain is null"));
  for (const float epsilon : {-1e-6f, 1.0f, std::numeric_limits<float>::quiet_NaN()}) {
    args = norm_;
    args.norm.epsilon = epsilon;
    EXPECT_THAT(Validate(args), Refuses("rms_norm.norm.epsilon"));
  }
  args = norm_;
  args.out.cols = 5;
  EXPECT_THAT(Validate(args), Refuses("rms_norm.out is [3, 5], needs [3, 6]"));
}

TEST_F(OpChecks, LinearNeedsOneToFourPartsThatFitTheInput) {
  LinearArgs args = linear_;
  args.parts = {};
  EXPECT_THAT(Validate(args), Refuses("linear.parts has 0 parts, needs 1 to 4"));
  const std::vector<LinearArgs::Part> many(5, part_);
  args.parts = many;
  EXPECT_THAT(Validate(args), Refuses("linear.parts has 5 parts, needs 1 to 4"));
  args.parts = absl::MakeConstSpan(many).subspan(1);
  EXPECT_TRUE(Validate(args).ok());
  args = linear_;
  args.in.cols = 5;
  EXPECT_THAT(Validate(args), Refuses("linear.weight has 6 columns, the input has 5"));
  args = linear_;
  args.norm.epsilon = 2;
  EXPECT_THAT(Validate(args), Refuses("linear.norm.epsilon"));
  part_.weight = nullptr;
  EXPECT_THAT(Validate(linear_), Refuses("linear.weight is null"));
  part_.weight = &weight_;
  part_.out.rows = 4;
  EXPECT_THAT(Validate(linear_), Refuses("linear.out is [4, 8], needs [3, 8]"));
  part_.out = Matrix(memory_ + 64, 3, 7);
  EXPECT_THAT(Validate(linear_), Refuses("linear.out is [3, 7], needs [3, 8]"));
}

TEST_F(OpChecks, GatedLinearNeedsGateAndUpOfOneShape) {
  GatedLinearArgs args = gated_;
  args.gate = nullptr;
  EXPECT_THAT(Validate(args), Refuses("gated_linear.gate is null"));
  args = gated_;
  args.up = nullptr;
  EXPECT_THAT(Validate(args), Refuses("gated_linear.up is null"));
  const ShapeOnlyWeight narrow(8, 5), tall(9, 6);
  args = gated_;
  args.up = &narrow;
  EXPECT_THAT(Validate(args), Refuses("gated_linear.up has 5 columns, the input has 6"));
  args.up = &tall;
  EXPECT_THAT(Validate(args), Refuses("gate has 8 rows, up has 9"));
  args = gated_;
  args.out.cols = 6;
  EXPECT_THAT(Validate(args), Refuses("gated_linear.out is [3, 6], needs [3, 8]"));
}

TEST_F(OpChecks, RopeNeedsWholeHeadsAnEvenRotationAndATableThatReaches) {
  for (const int32_t head_dim : {0, -4, 3}) {
    RopeArgs args = rope_;
    args.head_dim = head_dim;
    EXPECT_THAT(Validate(args), Refuses("rope.head_dim is " + std::to_string(head_dim)));
  }
  for (const int32_t rotary : {0, -2, 3, 6}) {
    RopeArgs args = rope_;
    args.rotary_dim = rotary;
    EXPECT_THAT(Validate(args), Refuses("rope.rotary_dim is " + std::to_string(rotary)));
  }
  RopeArgs args = rope_;
  args.rotary_dim = 4;
  EXPECT_THAT(Validate(args), Refuses("rope.table has 2 columns, needs 4"));
  args = rope_;
  args.table.rows = 16;
  EXPECT_THAT(Validate(args), Refuses("rope: position 16 is beyond the table of 16"));
  args = rope_;
  args.table.data = nullptr;
  EXPECT_THAT(Validate(args), Refuses("rope.table is null"));
}

TEST_F(OpChecks, RowsOfSequencesTileTheBatchInOrder) {
  const auto refused = [&](std::vector<SequenceRows> sequences, const char* words) {
    RopeArgs rope = rope_;
    AppendKvArgs append = append_;
    AttentionArgs attention = attention_;
    rope.sequences = append.sequences = attention.sequences = sequences;
    EXPECT_THAT(Validate(rope), Refuses(words));
    EXPECT_THAT(Validate(append), Refuses(words));
    EXPECT_THAT(Validate(attention), Refuses(words));
  };
  const SequenceRows a = sequences_[0], b = sequences_[1];
  refused({}, "cover 0 rows, the matrix has 5");
  refused({a}, "cover 3 rows, the matrix has 5");
  refused({b, a}, "rows [3, +2) do not follow row 0");
  refused({a, a}, "rows [0, +3) do not follow row 3");
  refused({a, {4, 1, 0, table_, 1}}, "rows [4, +1) do not follow row 3");
  refused({a, {3, 0, 0, table_, 1}}, "rows [3, +0) do not follow row 3");
  refused({a, {3, 3, 0, table_, 1}}, "cover 6 rows, the matrix has 5");
  refused({a, {3, 2, -1, table_, 1}}, "position -1 is out of range");
  refused({a, {3, 2, std::numeric_limits<int64_t>::max(), table_, 1}}, "is out of range");
}

TEST_F(OpChecks, BlockTablesCoverTheirSequencesWithBlocksThatExist) {
  const auto refused = [&](const SequenceRows& first, const char* words) {
    const std::vector<SequenceRows> sequences = {first, sequences_[1]};
    AppendKvArgs append = append_;
    AttentionArgs attention = attention_;
    append.sequences = attention.sequences = sequences;
    EXPECT_THAT(Validate(append), Refuses(words));
    EXPECT_THAT(Validate(attention), Refuses(words));
  };
  refused({0, 3, 14, nullptr, 2}, "17 tokens need 2 blocks, the table has 0");
  refused({0, 3, 14, table_, 1}, "17 tokens need 2 blocks, the table has 1");
  refused({0, 3, 30, table_, 2}, "33 tokens need 3 blocks, the table has 2");
  int32_t wrong[] = {0, 5};
  refused({0, 3, 14, wrong, 2}, "block 5 is not one of 5");
  wrong[1] = -1;
  refused({0, 3, 14, wrong, 2}, "block -1 is not one of 5");
  // What lies behind the last token is never read.
  const std::vector<SequenceRows> sequences = {{0, 3, 13, wrong, 2}, sequences_[1]};
  append_.sequences = sequences;
  EXPECT_TRUE(Validate(append_).ok()) << Validate(append_);
}

TEST_F(OpChecks, ACacheHasBlocksOfAKnownShape) {
  const auto refused = [&](const PagedKvView& kv, const char* words) {
    AppendKvArgs append = append_;
    AttentionArgs attention = attention_;
    append.kv = attention.kv = kv;
    EXPECT_THAT(Validate(append), Refuses(words));
    EXPECT_THAT(Validate(attention), Refuses(words));
  };
  PagedKvView kv = kv_;
  kv.layer_base = nullptr;
  refused(kv, ".kv.layer_base is null");
  kv = kv_;
  kv.blocks = 0;
  refused(kv, ".kv.blocks is 0, needs at least 1");
  for (const int32_t tokens : {0, 8, 17, 128}) {
    kv = kv_;
    kv.geometry.block_tokens = tokens;
    refused(kv, "needs 16, 32 or 64");
  }
  for (const int32_t size : {0, -2}) {
    kv = kv_;
    kv.geometry.kv_heads = size;
    refused(kv, "needs at least one head of at least one dimension");
    kv = kv_;
    kv.geometry.head_dim = size;
    refused(kv, "needs at least one head of at least one dimension");
  }
  for (const int32_t latent : {-1, kv_.geometry.head_dim + 1}) {
    kv = kv_;
    kv.geometry.latent_dim = latent;
    refused(kv, ".kv.latent_dim is");
  }
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kI32}) {
    kv = kv_;
    kv.geometry.dtype = dtype;
    refused(kv, "needs f16, bf16 or f32");
  }
  kv = kv_;
  kv.block_stride_bytes = kv.geometry.BlockLayerBytes() - 2;
  refused(kv, ".kv.block_stride_bytes is 510, needs 0 or at least 512");
  kv.block_stride_bytes = -1;
  refused(kv, ".kv.block_stride_bytes is -1");
  kv.block_stride_bytes = kv.geometry.BlockLayerBytes() * 3;
  append_.kv = kv;
  EXPECT_TRUE(Validate(append_).ok()) << Validate(append_);
  append_.kv.geometry.dtype = DType::kF32;
  EXPECT_TRUE(Validate(append_).ok()) << Validate(append_);
}

TEST_F(OpChecks, KeysAndValuesHaveTheWidthOfTheCache) {
  AppendKvArgs args = append_;
  args.key = Matrix(memory_, 5, 7);
  EXPECT_THAT(Validate(args), Refuses("append_kv.key is [5, 7], needs [5, 8]"));
  args = append_;
  args.value = Matrix(memory_, 4, 8);
  EXPECT_THAT(Validate(args), Refuses("append_kv.value is [4, 8], needs [5, 8]"));
}

TEST_F(OpChecks, QueryHeadsAreAMultipleOfKvHeads) {
  for (const int32_t heads : {0, -2, 5}) {
    AttentionArgs args = attention_;
    args.query_heads = heads;
    EXPECT_THAT(Validate(args), Refuses("attention.query_heads is " + std::to_string(heads)));
  }
  AttentionArgs args = attention_;
  args.query_heads = 4;
  EXPECT_THAT(Validate(args), Refuses("attention.query is [5, 24], needs [5, 16]"));
  args = attention_;
  args.out = Matrix(memory_, 5, 16);
  EXPECT_THAT(Validate(args), Refuses("attention.out is [5, 16], needs [5, 24]"));
  for (const float scale : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    args = attention_;
    args.scale = scale;
    EXPECT_THAT(Validate(args), Refuses("attention.scale"));
  }
  args = attention_;
  args.window = -1;
  EXPECT_THAT(Validate(args), Refuses("attention.window is -1"));
}

TEST_F(OpChecks, GatheredRowsExist) {
  GatherRowsArgs args = gather_;
  args.rows = {};
  EXPECT_THAT(Validate(args), Refuses("gather_rows.rows is empty"));
  args = gather_;
  args.out.cols = 5;
  EXPECT_THAT(Validate(args), Refuses("gather_rows.out is [3, 5], needs [3, 6]"));
  for (const int32_t row : {-1, 8}) {
    ids_[2] = row;
    EXPECT_THAT(Validate(gather_), Refuses("gather_rows.rows: " + std::to_string(row)));
  }
}

TEST(PrepareChecks, StoredWeightsHaveAShapeOfWholeBlocks) {
  const char data[4] = {};
  EXPECT_TRUE(Validate(StoredTensor{DType::kQ4_1, 3, 64, data}).ok());
  EXPECT_TRUE(Validate(StoredTensor{DType::kF16, 3, 7, data}).ok());
  EXPECT_THAT(Validate(StoredTensor{DType::kF32, 3, 7, nullptr}), Refuses("data is null"));
  EXPECT_THAT(Validate(StoredTensor{DType::kI32, 3, 7, data}), Refuses("i32 is not a weight"));
  for (const int64_t size : {int64_t{0}, int64_t{-1}, int64_t{1} << 40}) {
    EXPECT_THAT(Validate(StoredTensor{DType::kF32, size, 7, data}), Refuses("is out of range"));
    EXPECT_THAT(Validate(StoredTensor{DType::kF32, 7, size, data}), Refuses("is out of range"));
  }
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    EXPECT_THAT(
        Validate(StoredTensor{dtype, 3, 48, data}),
        Refuses("48 columns of " + std::string(DTypeName(dtype)) + " are not whole blocks of 32"));
  }
}

}  // namespace
}  // namespace baton::device
