#include "cli/serve_banner.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace baton::cli {
namespace {

std::string ValueOf(const std::map<std::string, std::string>& node, const char* key) {
  const auto found = node.find(key);
  return found == node.end() ? "?" : found->second;
}

std::string IsaLine(const BannerFacts& facts) {
  const std::string all = absl::StrJoin(facts.isa_levels, ", ");
  return facts.isa.empty()
             ? absl::StrCat(facts.isa_levels[0], ": the best of what this CPU has (", all, ")")
             : absl::StrCat(facts.isa, ": as --isa says; this CPU has ", all);
}

std::string MemoryLine(const BannerFacts& facts, const std::map<std::string, std::string>& node) {
  int64_t blocks = 0;
  const bool known = absl::SimpleAtoi(ValueOf(node, "kv_blocks"), &blocks);
  if (!known || facts.block_bytes == 0)
    return absl::StrCat(ValueOf(node, "kv_blocks"), " KV blocks");
  return absl::StrFormat("KV pool %s: %d blocks of %d tokens",
                         BytesText(blocks * facts.block_bytes), blocks, facts.block_tokens);
}

void AppendLine(std::string* text, const std::string& name, const std::string& value) {
  absl::StrAppendFormat(text, "  %-10s %s\n", name, value);
}

}  // namespace

std::string BytesText(int64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (value >= 1024.0 * 1024 * 1024) return absl::StrFormat("%.1f GiB", value / 1024 / 1024 / 1024);
  if (value >= 1024.0 * 1024) return absl::StrFormat("%.0f MiB", value / 1024 / 1024);
  return absl::StrFormat("%.0f KiB", value / 1024);
}

std::string Banner(const BannerFacts& facts) {
  std::string text = absl::StrFormat("\nBaton %s is ready after %.2f s\n", facts.version,
                                     absl::ToDoubleSeconds(facts.took));
  AppendLine(&text, "model",
             absl::StrCat(facts.model_id, " (", facts.family, ", ", BytesText(facts.model_bytes),
                          ") from ", facts.model));
  AppendLine(&text, "ISA", IsaLine(facts));
  AppendLine(
      &text, "threads",
      facts.threads > 0
          ? absl::StrCat(facts.threads, " a node, as --threads says, on ", facts.cpus, " CPUs")
          : absl::StrCat("the ", facts.cpus, " CPUs of this process shared by ", facts.nodes.size(),
                         " nodes"));
  AppendLine(&text, "memory",
             facts.kv_bytes > 0
                 ? absl::StrCat("KV pools as --kv-bytes says")
                 : "KV pools: a quarter of the memory that was free, at most 4 GiB (--kv-bytes)");
  for (const auto& node : facts.nodes) {
    AppendLine(&text, ValueOf(node, "node_id"),
               absl::StrCat(ValueOf(node, "device"), ", ", MemoryLine(facts, node), ", at ",
                            ValueOf(node, "address")));
  }
  AppendLine(&text, "HTTP", absl::StrCat(facts.url, "/v1; the page at /, /metrics"));
  AppendLine(&text, "gRPC", facts.grpc);
  absl::StrAppend(&text, "\nTry:\n  curl -N ", facts.url,
                  "/v1/chat/completions -H 'Content-Type: application/json' -d '"
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}], "
                  "\"model\": \"",
                  facts.model_id, "\", \"stream\": true}'\n  baton top --url ", facts.url,
                  "      baton chat --url ", facts.url, "\n\n");
  return text;
}

}  // namespace baton::cli
