#include "models/gguf/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>

namespace baton::models {
namespace {

constexpr uint64_t kSamples = 64, kSampleBytes = 4096;

}  // namespace

uint64_t Fingerprint(absl::string_view configuration, absl::Span<const FileExtents> files) {
  // The streaming state is large; the heap keeps it off a small stack.
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                        XXH3_freeState);
  XXH3_64bits_reset(state.get());
  XXH3_64bits_update(state.get(), configuration.data(), configuration.size());
  uint64_t data_bytes = 0;
  for (const FileExtents& file : files) {
    XXH3_64bits_update(state.get(), file.header.data(), file.header.size());
    const uint64_t size = file.header.size() + file.data.size();
    XXH3_64bits_update(state.get(), &size, sizeof(size));
    data_bytes += file.data.size();
  }
  for (uint64_t i = 0; i < kSamples; ++i) {
    // Evenly from the first byte to the last; span * i cannot overflow for any file that exists.
    const uint64_t span = data_bytes > kSampleBytes ? data_bytes - kSampleBytes : 0;
    uint64_t at = span * i / (kSamples - 1), left = kSampleBytes;
    for (const FileExtents& file : files) {
      if (at < file.data.size() && left > 0) {
        const uint64_t bytes = std::min<uint64_t>(left, file.data.size() - at);
        XXH3_64bits_update(state.get(), file.data.data() + at, bytes);
        left -= bytes;
        at = file.data.size();
      }
      at -= file.data.size();
    }
  }
  return XXH3_64bits_digest(state.get());
}

uint64_t Fingerprint(const GgufFile& file) {
  const uint64_t split = file.header_bytes();
  const FileExtents extents{file.bytes().subspan(0, split), file.bytes().subspan(split)};
  return Fingerprint("", absl::MakeConstSpan(&extents, 1));
}

}  // namespace baton::models
