// Counts the tokens of a text as the measured model would.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "bench/load/http_client.h"
#include "models/text/tokenizer.h"

namespace baton::bench {

class TokenCounter {
 public:
  virtual ~TokenCounter() = default;
  // Tokens of `text` alone, without BOS.
  virtual absl::StatusOr<int64_t> Count(const std::string& text) = 0;
  // Where the numbers come from, for the report.
  virtual std::string Source() const = 0;
};

// Asks the server's /tokenize: vLLM's form {"prompt"} -> {"count"}, else llama.cpp's {"content"} ->
// {"tokens"}.
class ServerTokenCounter final : public TokenCounter {
 public:
  // Null when the server has no /tokenize that answers in one of these forms. `client` must outlive
  // the counter.
  static std::unique_ptr<ServerTokenCounter> Find(HttpClient& client, const std::string& model);
  absl::StatusOr<int64_t> Count(const std::string& text) override;
  std::string Source() const override { return "the server's /tokenize"; }

 private:
  ServerTokenCounter(HttpClient& client, std::string model, bool vllm_form)
      : client_(client), model_(std::move(model)), vllm_form_(vllm_form) {}

  HttpClient& client_;
  std::string model_;
  bool vllm_form_;
};

// Uses the tokenizer of a GGUF file.
class FileTokenCounter final : public TokenCounter {
 public:
  static absl::StatusOr<std::unique_ptr<FileTokenCounter>> Load(const std::string& path);
  absl::StatusOr<int64_t> Count(const std::string& text) override;
  std::string Source() const override { return path_; }

 private:
  FileTokenCounter(std::string path, std::unique_ptr<models::text::Tokenizer> tokenizer)
      : path_(std::move(path)), tokenizer_(std::move(tokenizer)) {}

  std::string path_;
  std::unique_ptr<models::text::Tokenizer> tokenizer_;
};

}  // namespace baton::bench
