// docs/kv_format.md promises bytes; these are they.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "device/dtype.h"
#include "kvcache/kv_store.h"
#include "kvcache/transfer/frame_checksum.h"
#include "kvcache/transfer/kv_frame.h"
#include "tests/fakes/memory_device.h"

namespace baton::kvcache {
namespace {

// The bytes of the fenced block after the line `<!-- name -->`: hex digits, the text after '#' left
// out.
std::string DocumentedBytes(const std::string& name) {
  std::ifstream file(BATON_TEST_DATA "/../docs/kv_format.md");
  EXPECT_TRUE(file.good());
  std::string line, bytes;
  bool wanted = false, inside = false;
  while (std::getline(file, line)) {
    if (line == "<!-- " + name + " -->") wanted = true;
    if (line.starts_with("```")) {
      if (inside) break;
      inside = wanted;
      continue;
    }
    if (!inside) continue;
    std::istringstream words(line.substr(0, line.find('#')));
    for (std::string word; words >> word;) {
      bytes.push_back(static_cast<char>(std::stoi(word, nullptr, 16)));
    }
  }
  return bytes;
}

std::string Hex(const std::string& bytes) {
  static const char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
    hex += i % 16 == 15 ? '\n' : ' ';
  }
  return hex;
}

std::string Bytes(const OutgoingFrame& frame) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(EncodeFrame(frame).Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

v1::Ticket ExampleTicket() {
  v1::Ticket ticket;
  for (char i = 0; i < 16; ++i) ticket.mutable_id()->push_back(i);
  ticket.set_epoch(3);
  return ticket;
}

// The example: 1 KV head of 2 dimensions, blocks of 16 tokens. Key and value of token t in
// dimension d are t + 100 d and its negative.
constexpr device::KvGeometry kExample = {
    .layers = 4, .kv_heads = 1, .head_dim = 2, .block_tokens = 16, .dtype = device::DType::kF16};

void FillExample(uint8_t* block_layer) {
  auto* halves = reinterpret_cast<uint16_t*>(block_layer);
  for (int t = 0; t < 16; ++t) {
    for (int d = 0; d < 2; ++d) {
      const auto key = static_cast<float>(t + 100 * d);
      halves[d * 16 + t] = device::FloatToHalf(key);
      halves[32 + t * 2 + d] = device::FloatToHalf(-key);
    }
  }
}

TEST(KvFormat, TheFrameInTheDocumentIsWhatTheEncoderWrites) {
  fakes::MemoryDevice device;
  auto store = KvStore::Create(device, kExample, 1);
  ASSERT_TRUE(store.ok());
  FillExample((*store)->BlockLayer(2, 0));
  OutgoingFrame frame;
  v1::KvManifest& m = frame.manifest;
  *m.mutable_ticket() = ExampleTicket();
  m.set_decode_incarnation(0x1122334455667788);
  m.set_model_fingerprint(0x99aabbccddeeff00);
  m.set_layout_version(kKvLayoutVersion);
  m.set_layer(2);
  m.set_block_begin(5);
  m.set_block_count(1);
  frame.payload.push_back(
      {(*store)->BlockLayer(2, 0), static_cast<size_t>(kExample.BlockLayerBytes())});
  m.set_payload_xxh3(PayloadXxh3(frame.payload));
  m.set_manifest_xxh3(ManifestXxh3(m));
  EXPECT_EQ(Hex(DocumentedBytes("frame")), Hex(Bytes(frame)));
}

TEST(KvFormat, TheCommitInTheDocumentIsWhatTheEncoderWrites) {
  OutgoingFrame frame;
  frame.commit = std::make_unique<v1::KvCommit>();
  *frame.commit->mutable_ticket() = ExampleTicket();
  frame.commit->set_decode_incarnation(0x1122334455667788);
  frame.commit->set_prompt_tokens(96);
  frame.commit->mutable_first_token()->set_id(1234);
  frame.commit->set_commit_xxh3(CommitXxh3(*frame.commit));
  EXPECT_EQ(Hex(DocumentedBytes("commit")), Hex(Bytes(frame)));
}

}  // namespace
}  // namespace baton::kvcache
