// Tokenizers of Hugging Face folders: tokenizer.json and what the files beside it say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "models/text/folder_texts.h"
#include "models/text/tokenizer.h"
#include "tests/fakes/temp_folder.h"

namespace baton::models::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A byte-level BPE of six tokens and two special ones; its post-processor puts <s> in front.
constexpr char kTokenizer[] = R"({"version":"1.0","truncation":null,"padding":null,
 "added_tokens":[
  {"id":8,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,
   "normalized":false,"special":true},
  {"id":9,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,
   "normalized":false,"special":true}],
 "normalizer":null,
 "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
 "post_processor":{"type":"TemplateProcessing",
  "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
  "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],
  "special_tokens":{"<s>":{"id":"<s>","ids":[8],"tokens":["<s>"]}}},
 "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
 "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
  "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
  "vocab":{"a":0,"b":1,"ab":2,"Ġ":3,"<":4,">":5,"/":6,"s":7},"merges":[["a","b"]]}})";

class FolderTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    folder_.Write("tokenizer.json", kTokenizer);
    folder_.Write("config.json",
                  R"({"vocab_size":16,"max_position_embeddings":77,"eos_token_id":9})");
  }
  std::unique_ptr<Tokenizer> Open() {
    auto tokenizer = Tokenizer::Open(folder_.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
  }
  fakes::TempFolder folder_;
};

TEST_F(FolderTokenizer, TextBecomesIdsAndBack) {
  const auto tokenizer = Open();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(*tokenizer->Encode("ab a", true, true), ElementsAre(8, 2, 3, 0));
  EXPECT_THAT(*tokenizer->Encode("a</s>", true, false), ElementsAre(0, 9));
  EXPECT_THAT(*tokenizer->Encode("a</s>", false, false), ElementsAre(0, 4, 6, 7, 5));
  const std::vector<int32_t> ids = {8, 2, 3, 0, 12};
  EXPECT_EQ(*tokenizer->Decode(ids, true), "ab a");
  EXPECT_EQ(*tokenizer->Decode(ids, false), "<s>ab a");
  EXPECT_TRUE(tokenizer->IsSpecial(9));
  EXPECT_FALSE(tokenizer->IsSpecial(12));
}

TEST_F(FolderTokenizer, TheVocabularyIsPaddedToTheModelsAndEndsAreCollected) {
  EXPECT_EQ(Open()->vocab_size(), 16);
  EXPECT_THAT(Open()->eos_ids(), ElementsAre(9));
  folder_.Write("generation_config.json", R"({"eos_token_id":[7,9]})");
  folder_.Write("tokenizer_config.json",
                R"({"eos_token":{"content":"</s>"},"add_bos_token":false})");
  EXPECT_THAT(Open()->eos_ids(), ElementsAre(7, 9));
  EXPECT_FALSE(Open()->add_bos());
  EXPECT_EQ(*ReadContextLength(folder_.path()), 77);
}

TEST_F(FolderTokenizer, TheTemplateOfItsOwnFileWins) {
  EXPECT_FALSE(Open()->RenderChat("[]", true).ok());
  folder_.Write("tokenizer_config.json", R"({"bos_token":"<s>","chat_template":[
    {"name":"tool_use","template":"wrong"},{"name":"default","template":"{{ bos_token }}old"}]})");
  EXPECT_EQ(*Open()->RenderChat("[]", true), "<s>old");
  folder_.Write("chat_template.jinja", "{{ bos_token }}new");
  EXPECT_EQ(*Open()->RenderChat("[]", true), "<s>new");
}

TEST_F(FolderTokenizer, WhatIsWrongIsNamedWithItsFile) {
  folder_.Write("config.json", R"({"vocab_size":0})");
  EXPECT_THAT(std::string(Tokenizer::Open(folder_.path()).status().message()),
              HasSubstr("config.json: field vocab_size needs a whole number above 0"));
  SetUp();
  folder_.Write("tokenizer.json", "{}");
  EXPECT_THAT(std::string(Tokenizer::Open(folder_.path()).status().message()),
              HasSubstr("tokenizer.json: decoder.type"));
}

TEST(DefaultModelId, IsTheNameThatPeopleKnow) {
  EXPECT_EQ(DefaultModelId("/models/SmolLM2-135M.Q4_1.gguf"), "SmolLM2-135M.Q4_1");
  EXPECT_EQ(DefaultModelId("/models/Qwen3-0.6B/"), "Qwen3-0.6B");
  EXPECT_EQ(DefaultModelId("/h/hub/models--Qwen--Qwen3-0.6B/snapshots/12ab"), "Qwen/Qwen3-0.6B");
}

}  // namespace
}  // namespace baton::models::text
