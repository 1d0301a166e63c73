// Writes small GGUF files that hold only tokenizer metadata.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace baton::test {

class MadeGguf {
 public:
  MadeGguf& String(const std::string& key, const std::string& value) {
    Key(key, 8);
    Text(value);
    return *this;
  }
  MadeGguf& Uint(const std::string& key, uint32_t value) {
    Key(key, 4);
    Put(value);
    return *this;
  }
  MadeGguf& Bool(const std::string& key, bool value) {
    Key(key, 7);
    Put(static_cast<uint8_t>(value));
    return *this;
  }
  MadeGguf& Strings(const std::string& key, const std::vector<std::string>& values) {
    Array(key, 8, values.size());
    for (const std::string& value : values) Text(value);
    return *this;
  }
  MadeGguf& Ints(const std::string& key, const std::vector<int32_t>& values) {
    Array(key, 5, values.size());
    for (int32_t value : values) Put(value);
    return *this;
  }
  MadeGguf& Floats(const std::string& key, const std::vector<float>& values) {
    Array(key, 6, values.size());
    for (float value : values) Put(value);
    return *this;
  }

  // Writes the file; it lives as long as this object.
  const std::string& Write() {
    path_ = "/tmp/baton_made_" + std::to_string(getpid()) + "_" +
            std::to_string(reinterpret_cast<uintptr_t>(this)) + ".gguf";
    std::string header = "GGUF";
    Append(header, uint32_t{3});
    Append(header, uint64_t{0});
    Append(header, count_);
    std::string file = header + metadata_;
    file.resize((file.size() + 31) / 32 * 32);
    std::ofstream(path_, std::ios::binary) << file;
    return path_;
  }

  MadeGguf() = default;
  MadeGguf(const MadeGguf&) = delete;
  MadeGguf& operator=(const MadeGguf&) = delete;
  ~MadeGguf() {
    if (!path_.empty()) std::remove(path_.c_str());
  }

 private:
  template <typename T>
  static void Append(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  template <typename T>
  void Put(T value) {
    Append(metadata_, value);
  }
  void Text(const std::string& text) {
    Put(uint64_t{text.size()});
    metadata_ += text;
  }
  void Key(const std::string& key, uint32_t type) {
    ++count_;
    Text(key);
    Put(type);
  }
  void Array(const std::string& key, uint32_t type, uint64_t size) {
    Key(key, 9);
    Put(type);
    Put(size);
  }

  std::string metadata_;
  std::string path_;
  uint64_t count_ = 0;
};

}  // namespace baton::test
