// Blocks of every weight format of GGUF and the values that they mean, from format_vectors.json
// (make_format_vectors.py).
#pragma once

#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "device/block_formats.h"

namespace baton::device {

struct FormatVector {
  DType dtype;
  std::vector<uint8_t> blocks;
  std::vector<float> values;  // 1024
};

inline std::vector<uint8_t> FromHex(const std::string& text) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

inline std::vector<FormatVector> ReadFormatVectors() {
  const std::map<std::string, DType> types = {
      {"Q4_0", DType::kQ4_0},           {"Q4_1", DType::kQ4_1},
      {"Q5_0", StoredFormat::kQ5_0},    {"Q5_1", StoredFormat::kQ5_1},
      {"Q8_0", DType::kQ8_0},           {"Q2_K", StoredFormat::kQ2_K},
      {"Q3_K", StoredFormat::kQ3_K},    {"Q4_K", StoredFormat::kQ4_K},
      {"Q5_K", StoredFormat::kQ5_K},    {"Q6_K", StoredFormat::kQ6_K},
      {"IQ4_NL", StoredFormat::kIq4Nl}, {"IQ4_XS", StoredFormat::kIq4Xs},
      {"MXFP4", StoredFormat::kMxfp4},
  };
  std::ifstream file(std::string(BATON_TEST_DATA) + "/device/format_vectors.json");
  const nlohmann::json json = nlohmann::json::parse(file);
  std::vector<FormatVector> vectors;
  for (const auto& [name, vector] : json.items()) {
    FormatVector& made = vectors.emplace_back();
    made.dtype = types.at(name);
    made.blocks = FromHex(vector.at("blocks").get<std::string>());
    const std::vector<uint8_t> values = FromHex(vector.at("values").get<std::string>());
    made.values.resize(values.size() / sizeof(float));
    std::memcpy(made.values.data(), values.data(), values.size());
  }
  return vectors;
}

}  // namespace baton::device
