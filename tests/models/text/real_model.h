// Where tests find the default model; it is too large for the repository.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace baton::test {

// $BATON_MODEL, or the file that scripts/serve keeps in its cache; empty where neither exists.
inline std::string RealModelPath() {
  if (const char* path = std::getenv("BATON_MODEL"); path != nullptr && *path != '\0') return path;
  const char* cache = std::getenv("BATON_CACHE_DIR");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder =
      cache != nullptr ? std::filesystem::path(cache)
                       : std::filesystem::path(home != nullptr ? home : "/") / ".cache" / "baton";
  const std::filesystem::path path = folder / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  return std::filesystem::exists(path) ? path.string() : "";
}

}  // namespace baton::test

// In SetUp or a test body: skips when the model is missing, fails when BATON_REQUIRE_MODEL=1 says
// that it must be there.
#define BATON_NEED_REAL_MODEL(path)                                                            \
  const std::string path = baton::test::RealModelPath();                                       \
  if (path.empty()) {                                                                          \
    const char* required = std::getenv("BATON_REQUIRE_MODEL");                                 \
    if (required != nullptr && std::string(required) == "1") {                                 \
      FAIL() << "the model is missing: set BATON_MODEL to SmolLM2-135M-Instruct.Q4_1.gguf or " \
                "put it into ${BATON_CACHE_DIR:-$HOME/.cache/baton}/models";                   \
    }                                                                                          \
    GTEST_SKIP() << "no model; set BATON_MODEL";                                               \
  }
