#include "kvcache/kv_layout.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace baton::kvcache {
namespace {

KvLayout Layout() {
  return {.version = 1,
          .geometry = {.layers = 4,
                       .kv_heads = 2,
                       .head_dim = 16,
                       .block_tokens = 32,
                       .dtype = device::DType::kF16},
          .model_fingerprint = 0x1234};
}

TEST(KvLayout, EqualLayoutsMatch) { EXPECT_TRUE(CheckSameLayout(Layout(), Layout()).ok()); }

TEST(KvLayout, EachDifferingFieldIsNamedWithBothValues) {
  struct Case {
    std::function<void(KvLayout&)> change;
    std::string message;
  };
  const Case cases[] = {
      {[](KvLayout& l) { l.version = 2; }, "kv layout differs in version: ours 1, theirs 2"},
      {[](KvLayout& l) { l.geometry.layers = 5; }, "kv layout differs in layers: ours 4, theirs 5"},
      {[](KvLayout& l) { l.geometry.kv_heads = 1; },
       "kv layout differs in kv_heads: ours 2, theirs 1"},
      {[](KvLayout& l) { l.geometry.head_dim = 64; },
       "kv layout differs in head_dim: ours 16, theirs 64"},
      {[](KvLayout& l) { l.geometry.latent_dim = 8; },
       "kv layout differs in latent_dim: ours 0, theirs 8"},
      {[](KvLayout& l) { l.geometry.block_tokens = 64; },
       "kv layout differs in block_tokens: ours 32, theirs 64"},
      {[](KvLayout& l) { l.geometry.dtype = device::DType::kF32; },
       "kv layout differs in dtype: ours f16, theirs f32"},
      {[](KvLayout& l) { l.model_fingerprint = 0x1235; },
       "kv layout differs in model_fingerprint: ours 0000000000001234, theirs 0000000000001235"},
  };
  for (const Case& c : cases) {
    KvLayout theirs = Layout();
    c.change(theirs);
    const absl::Status status = CheckSameLayout(Layout(), theirs);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message(), c.message);
  }
}

TEST(KvLayout, BlocksOfAnotherSizeAreConvertibleAndNothingElseIs) {
  for (const int32_t size : {16, 32, 64}) {
    KvLayout theirs = Layout();
    theirs.geometry.block_tokens = size;
    EXPECT_TRUE(CheckConvertible(Layout(), theirs).ok()) << size;
    theirs.geometry.dtype = device::DType::kF32;
    EXPECT_EQ(CheckConvertible(Layout(), theirs).message(),
              "kv layout differs in dtype: ours f16, theirs f32");
  }
  KvLayout odd = Layout();
  odd.geometry.block_tokens = 48;
  EXPECT_EQ(CheckConvertible(Layout(), odd).message(),
            "kv layout differs in block_tokens: ours 32, theirs 48");
}

}  // namespace
}  // namespace baton::kvcache
