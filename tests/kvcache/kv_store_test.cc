#include "kvcache/kv_store.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "tests/fakes/memory_device.h"

namespace baton::kvcache {
namespace {

device::KvGeometry Geometry(device::DType dtype) {
  return {.layers = 3, .kv_heads = 2, .head_dim = 5, .block_tokens = 16, .dtype = dtype};
}

// Of a model whose values are the ends of its keys.
device::KvGeometry Latent(device::DType dtype) {
  device::KvGeometry geometry = Geometry(dtype);
  geometry.latent_dim = 3;
  return geometry;
}

class KvStoreOf : public testing::TestWithParam<device::KvGeometry> {};

TEST_P(KvStoreOf, BlocksOfAllLayersLieApart) {
  fakes::MemoryDevice device;
  auto store = KvStore::Create(device, GetParam(), 4);
  ASSERT_TRUE(store.ok()) << store.status();
  const int64_t block_bytes = (*store)->geometry().BlockLayerBytes();
  std::set<uint8_t*> starts;
  for (int32_t layer = 0; layer < 3; ++layer) {
    for (int32_t block = 0; block < 4; ++block) {
      uint8_t* start = (*store)->BlockLayer(layer, block);
      EXPECT_EQ(start, (*store)->layers()[layer].keys(block));
      starts.insert(start);
      std::memset(start, 1, block_bytes);  // ASan notices what lies outside
    }
  }
  EXPECT_EQ(starts.size(), 12u);
  uint8_t* previous = nullptr;
  for (uint8_t* start : starts) {
    if (previous != nullptr) {
      EXPECT_GE(start - previous, block_bytes);
    }
    previous = start;
  }
}

// Checked against a walk over every element by its place in the formula, not by the rows that
// ZeroTail clears.
TEST_P(KvStoreOf, ZeroTailClearsExactlyTheLaterTokensOfOneBlock) {
  fakes::MemoryDevice device;
  const device::KvGeometry g = GetParam();
  const int64_t element = device::BlockBytes(g.dtype);
  for (int32_t from = 0; from <= g.block_tokens; ++from) {
    auto store = KvStore::Create(device, g, 3);
    ASSERT_TRUE(store.ok());
    for (int32_t layer = 0; layer < g.layers; ++layer) {
      for (int32_t block = 0; block < 3; ++block) {
        std::memset((*store)->BlockLayer(layer, block), 0xff, g.BlockLayerBytes());
      }
    }
    (*store)->ZeroTail(1, 1, from);
    for (int32_t layer = 0; layer < g.layers; ++layer) {
      for (int32_t block = 0; block < 3; ++block) {
        const uint8_t* keys = (*store)->BlockLayer(layer, block);
        for (int64_t i = 0; i < g.KeyBytes(); ++i) {
          const bool cleared_block = layer == 1 && block == 1;
          const int64_t key_token = i / element % g.block_tokens;
          const int64_t value_token = i / element / g.head_dim % g.block_tokens;
          ASSERT_EQ(keys[i], cleared_block && key_token >= from ? 0 : 0xff) << "key byte " << i;
          if (g.latent_dim > 0) continue;
          ASSERT_EQ(keys[g.KeyBytes() + i], cleared_block && value_token >= from ? 0 : 0xff)
              << "value byte " << i;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Geometries, KvStoreOf,
                         testing::Values(Geometry(device::DType::kF16),
                                         Geometry(device::DType::kF32), Latent(device::DType::kF16),
                                         Latent(device::DType::kF32)));

TEST(KvStore, ALatentCacheTakesTheKeysRoomOnly) {
  EXPECT_EQ(Geometry(device::DType::kF16).BlockLayerBytes(), 2 * 2 * 5 * 16 * 2);
  EXPECT_EQ(Latent(device::DType::kF16).BlockLayerBytes(), 2 * 5 * 16 * 2);
}

TEST(KvStore, RefusesShapesThatItCannotHold) {
  fakes::MemoryDevice device;
  auto code = [&device](device::KvGeometry g, int32_t blocks) {
    return KvStore::Create(device, g, blocks).status().code();
  };
  const device::KvGeometry good = Geometry(device::DType::kF16);
  EXPECT_EQ(code(good, 0), absl::StatusCode::kInvalidArgument);
  for (int32_t tokens : {0, 8, 33, 128}) {
    device::KvGeometry g = good;
    g.block_tokens = tokens;
    EXPECT_EQ(code(g, 1), absl::StatusCode::kInvalidArgument) << tokens;
  }
  for (int32_t latent : {-1, 6}) {
    device::KvGeometry g = good;
    g.latent_dim = latent;
    EXPECT_EQ(code(g, 1), absl::StatusCode::kInvalidArgument) << latent;
  }
  device::KvGeometry q8 = good;
  q8.dtype = device::DType::kQ8_0;
  EXPECT_EQ(code(q8, 1), absl::StatusCode::kInvalidArgument);
  device::KvGeometry huge = good;
  huge.layers = huge.kv_heads = huge.head_dim = INT32_MAX;
  EXPECT_EQ(code(huge, INT32_MAX), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace baton::kvcache
