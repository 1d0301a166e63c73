#include "cli/serve_banner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

BannerFacts Facts() {
  BannerFacts facts;
  facts.version = "1.2.3";
  facts.took = absl::Milliseconds(690);
  facts.model = "/m/tiny.gguf";
  facts.model_id = "tiny";
  facts.family = "llama";
  facts.model_bytes = 3 << 20;
  facts.block_bytes = 1 << 20;
  facts.block_tokens = 32;
  facts.isa_levels = {"avx2", "scalar"};
  facts.cpus = 4;
  facts.nodes = {{{"node_id", "decode-0"},
                  {"device", "d_chip: avx2, 2 threads"},
                  {"kv_blocks", "512"},
                  {"address", "127.0.0.1:9"}}};
  facts.url = "http://127.0.0.1:8000";
  facts.grpc = "127.0.0.1:8001";
  return facts;
}

TEST(ServeBanner, SaysWhatWasChosenAndWhy) {
  const std::string text = Banner(Facts());
  for (const char* part :
       {"Baton 1.2.3 is ready after 0.69 s", "tiny (llama, 3 MiB) from /m/tiny.gguf",
        "avx2: the best of what this CPU has (avx2, scalar)", "the 4 CPUs of this process shared",
        "a quarter of the memory that was free",
        "decode-0   d_chip: avx2, 2 threads, KV pool 512 MiB: 512 blocks of 32 tokens, at "
        "127.0.0.1:9",
        "http://127.0.0.1:8000/v1; the page at /", "curl -N http://127.0.0.1:8000/v1/chat/completions"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(ServeBanner, SaysWhatWasAskedFor) {
  BannerFacts facts = Facts();
  facts.isa = "scalar";
  facts.threads = 3;
  facts.kv_bytes = 5;
  const std::string text = Banner(facts);
  EXPECT_THAT(text, HasSubstr("scalar: as --isa says; this CPU has avx2, scalar"));
  EXPECT_THAT(text, HasSubstr("3 a node, as --threads says"));
  EXPECT_THAT(text, HasSubstr("as --kv-bytes says"));
  EXPECT_THAT(text, Not(HasSubstr("a quarter")));
}

TEST(ServeBanner, BytesAreShownInTheUnitThatFits) {
  EXPECT_EQ(BytesText(512), "0 KiB");
  EXPECT_EQ(BytesText(98 << 20), "98 MiB");
  EXPECT_EQ(BytesText(int64_t{3} << 29), "1.5 GiB");
}

}  // namespace
}  // namespace baton::cli
