#include "tests/fakes/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "device/dtype.h"

namespace baton::fakes {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9;

template <typename T>
void Put(std::string& out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(std::string& out, absl::string_view text) {
  Put<uint64_t>(out, text.size());
  out.append(text.data(), text.size());
}

void Pad(std::string& out) {
  out.append((kAlignment - out.size() % kAlignment) % kAlignment, '\0');
}

// One block of 32 values; the formulas are those of device/dtype.h.
void PutBlock(std::string& out, models::GgmlType type, const float* values) {
  const auto [least, most] = std::minmax_element(values, values + 32);
  const float absolute = std::max(std::fabs(*least), std::fabs(*most));
  if (type == models::GgmlType::kQ8_0) {
    const float d = absolute / 127;
    Put(out, device::FloatToHalf(d));
    for (int i = 0; i < 32; ++i) {
      Put(out, static_cast<int8_t>(d > 0 ? std::lround(values[i] / d) : 0));
    }
    return;
  }
  const bool has_min = type == models::GgmlType::kQ4_1;
  const float d = has_min ? (*most - *least) / 15 : absolute / 7;
  const float zero = has_min ? *least : -8 * d;
  Put(out, device::FloatToHalf(d));
  if (has_min) Put(out, device::FloatToHalf(*least));
  const auto nibble = [&](int i) {
    return d > 0 ? std::clamp<long>(std::lround((values[i] - zero) / d), 0, 15) : 0;
  };
  for (int i = 0; i < 16; ++i) {
    Put(out, static_cast<uint8_t>(nibble(i) | nibble(i + 16) << 4));
  }
}

}  // namespace

void GgufWriter::BeginEntry(absl::string_view key, uint32_t value_type) {
  ++entry_count_;
  PutString(metadata_, key);
  Put(metadata_, value_type);
}

void GgufWriter::AddString(absl::string_view key, absl::string_view value) {
  BeginEntry(key, kString);
  PutString(metadata_, value);
}

void GgufWriter::AddUint(absl::string_view key, uint32_t value) {
  BeginEntry(key, kUint32);
  Put(metadata_, value);
}

void GgufWriter::AddFloat(absl::string_view key, float value) {
  BeginEntry(key, kFloat32);
  Put(metadata_, value);
}

void GgufWriter::AddBool(absl::string_view key, bool value) {
  BeginEntry(key, kBool);
  Put(metadata_, static_cast<uint8_t>(value));
}

void GgufWriter::AddStrings(absl::string_view key, const std::vector<std::string>& values) {
  BeginEntry(key, kArray);
  Put(metadata_, kString);
  Put<uint64_t>(metadata_, values.size());
  for (const std::string& value : values) PutString(metadata_, value);
}

void GgufWriter::AddInts(absl::string_view key, const std::vector<int32_t>& values) {
  BeginEntry(key, kArray);
  Put(metadata_, kInt32);
  Put<uint64_t>(metadata_, values.size());
  for (const int32_t value : values) Put(metadata_, value);
}

void GgufWriter::AddTensor(absl::string_view name, const std::vector<uint64_t>& dims,
                           models::GgmlType type, std::string data) {
  ++tensor_count_;
  PutString(tensor_table_, name);
  Put(tensor_table_, static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) Put(tensor_table_, dim);
  Put(tensor_table_, static_cast<uint32_t>(type));
  Pad(data_);
  Put<uint64_t>(tensor_table_, data_.size());
  data_ += data;
}

std::string GgufWriter::Bytes() const {
  std::string file = "GGUF";
  Put<uint32_t>(file, 3);
  Put(file, tensor_count_);
  Put(file, entry_count_);
  file += metadata_;
  file += tensor_table_;
  Pad(file);
  return file + data_;
}

std::string Encode(models::GgmlType type, const std::vector<float>& values) {
  std::string out;
  if (models::LayoutOf(type).block_elements == 32) {
    for (size_t i = 0; i + 32 <= values.size(); i += 32) PutBlock(out, type, &values[i]);
    return out;
  }
  for (const float value : values) {
    if (type == models::GgmlType::kF32) {
      Put(out, value);
    } else if (type == models::GgmlType::kF16) {
      Put(out, device::FloatToHalf(value));
    } else {
      // Truncation is as good as rounding for random weights.
      uint32_t bits;
      __builtin_memcpy(&bits, &value, sizeof(bits));
      Put(out, static_cast<uint16_t>(bits >> 16));
    }
  }
  return out;
}

}  // namespace baton::fakes
