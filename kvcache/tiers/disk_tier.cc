#include "kvcache/tiers/disk_tier.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"

namespace baton::kvcache {
namespace {

namespace fs = std::filesystem;

// A file is this header and then the block's bytes.
struct Header {
  char magic[8] = {'B', 'A', 'T', 'O', 'N', 'K', 'V', '1'};
  BlockKey key;
  uint64_t bytes = 0;
  uint64_t xxh3 = 0;  // of the bytes
};
static_assert(sizeof(Header) == 48, "no padding");

constexpr char kSuffix[] = ".kv";
constexpr char kPartSuffix[] = ".kv.part";

Header HeaderOf(const BlockKey& key, absl::Span<const uint8_t> bytes) {
  Header header;
  header.key = key;
  header.bytes = bytes.size();
  header.xxh3 = XXH3_64bits(bytes.data(), bytes.size());
  return header;
}

// "<hash>-<check>-<check>.kv"; false for other names.
bool ParseName(const std::string& name, BlockKey* key) {
  unsigned long long hash, low, high;
  int used = 0;
  if (std::sscanf(name.c_str(), "%16llx-%16llx-%16llx.kv%n", &hash, &low, &high, &used) != 3) {
    return false;
  }
  *key = {hash, low, high};
  return used == static_cast<int>(name.size());
}

bool WriteWhole(const std::string& path, const Header& header, absl::Span<const uint8_t> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&header), sizeof(header));
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file.good();
}

enum class ReadResult { kOk, kMissing, kDamaged };

ReadResult ReadWhole(const std::string& path, const BlockKey& key, absl::Span<uint8_t> out) {
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return ReadResult::kMissing;
  Header header;
  file.read(reinterpret_cast<char*>(&header), sizeof(header));
  if (file.gcount() != sizeof(header)) return ReadResult::kDamaged;
  file.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
  if (file.gcount() != static_cast<std::streamsize>(out.size())) return ReadResult::kDamaged;
  const Header expected = HeaderOf(key, out);
  return std::memcmp(&header, &expected, sizeof(header)) == 0 ? ReadResult::kOk
                                                              : ReadResult::kDamaged;
}

// A file's time says when it was last used: the order of entries after a restart.
void Touch(const std::string& path) {
  std::error_code ignored;
  fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);
}

struct Found {
  fs::file_time_type written;
  fs::path path;
  BlockKey key;
  int64_t bytes = 0;
};

// The blocks in one folder; deletes what a process left half written.
std::vector<Found> BlocksIn(const fs::path& folder, std::error_code& error) {
  std::vector<Found> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    BlockKey key;
    std::error_code gone;
    const std::string name = it->path().filename().string();
    if (absl::EndsWith(name, kPartSuffix)) fs::remove(it->path(), gone);
    if (!ParseName(name, &key)) continue;
    const auto bytes = static_cast<int64_t>(it->file_size(gone));
    const auto written = it->last_write_time(gone);
    if (!gone) found.push_back({written, it->path(), key, bytes});
  }
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.written < b.written; });
  return found;
}

}  // namespace

DiskTier::DiskTier(const std::string& folder, const std::string& layout, int64_t bytes_max)
    : root_(folder), folder_(absl::StrCat(folder, "/", layout)), bytes_max_(bytes_max) {}

DiskTier::~DiskTier() {
  if (lock_file_ >= 0) close(lock_file_);
}

absl::StatusOr<std::unique_ptr<DiskTier>> DiskTier::Open(const std::string& folder,
                                                         const std::string& layout,
                                                         int64_t bytes_max) {
  std::unique_ptr<DiskTier> tier(new DiskTier(folder, layout, bytes_max));
  BATON_RETURN_IF_ERROR(tier->Lock());
  BATON_RETURN_IF_ERROR(tier->Scan());
  return tier;
}

absl::Status DiskTier::Lock() {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (!error) {
    lock_file_ = open(absl::StrCat(root_, "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock_file_ < 0) error = std::error_code(errno, std::generic_category());
  }
  if (error) {
    return absl::NotFoundError(
        absl::StrCat("cache folder ", root_, " cannot be used: ", error.message()));
  }
  // The kernel lets go of it however the process ends.
  if (flock(lock_file_, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "cache folder ", root_, " is used by another process: each node needs a folder of its own"));
}

absl::Status DiskTier::Scan() {
  std::error_code error;
  const std::vector<Found> ours = BlocksIn(folder_, error);
  std::vector<Found> others;
  fs::directory_iterator it;
  if (!error) it = fs::directory_iterator(root_, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    std::error_code unreadable;  // a foreign folder is not needed
    if (!it->is_directory(unreadable) || it->path() == fs::path(folder_)) continue;
    const std::vector<Found> more = BlocksIn(it->path(), unreadable);
    others.insert(others.end(), more.begin(), more.end());
  }
  if (error) {
    return absl::NotFoundError(
        absl::StrCat("cache folder ", root_, " cannot be read: ", error.message()));
  }
  std::stable_sort(others.begin(), others.end(),
                   [](const Found& a, const Found& b) { return a.written < b.written; });
  MutexLock lock(mutex_);
  for (const Found& file : others) {
    foreign_.push_back({file.path.string(), file.bytes});
    stats_.bytes += file.bytes;
  }
  for (const Found& file : ours) Add(file.key, file.bytes);
  MakeRoom(0);
  return absl::OkStatus();
}

std::string DiskTier::PathOf(const BlockKey& key) const {
  return absl::StrFormat("%s/%016x-%016x-%016x%s", folder_, key.hash, key.check_low, key.check_high,
                         kSuffix);
}

void DiskTier::Add(const BlockKey& key, int64_t bytes) {
  order_.push_back(key.hash);
  if (!entries_.emplace(key.hash, Entry{key, bytes, std::prev(order_.end())}).second) {
    order_.pop_back();
    return;
  }
  stats_.bytes += bytes;
  ++stats_.blocks;
}

void DiskTier::Erase(uint64_t hash) {
  const auto found = entries_.find(hash);
  std::error_code ignored;  // a file that is gone already is as good
  fs::remove(PathOf(found->second.key), ignored);
  stats_.bytes -= found->second.bytes;
  --stats_.blocks;
  ++stats_.dropped;
  order_.erase(found->second.place);
  entries_.erase(found);
}

std::vector<uint64_t> DiskTier::MakeRoom(int64_t bytes) {
  std::vector<uint64_t> gone;
  while (stats_.bytes + bytes > bytes_max_ && !foreign_.empty()) {
    std::error_code ignored;
    fs::remove(foreign_.front().path, ignored);
    stats_.bytes -= foreign_.front().bytes;
    ++stats_.dropped;
    foreign_.pop_front();
  }
  while (stats_.bytes + bytes > bytes_max_ && !order_.empty()) {
    gone.push_back(order_.front());
    Erase(order_.front());
  }
  return gone;
}

std::vector<uint64_t> DiskTier::Put(const StoredBlock& block) {
  const auto bytes = static_cast<int64_t>(sizeof(Header) + block.bytes->size());
  std::vector<uint64_t> gone;
  {
    MutexLock lock(mutex_);
    const auto found = entries_.find(block.key.hash);
    if (found != entries_.end()) {
      order_.splice(order_.end(), order_, found->second.place);
      Touch(PathOf(found->second.key));
      return gone;
    }
    gone = MakeRoom(bytes);
  }
  // Nobody sees half of a file: it gets its name when it is whole.
  const std::string path = PathOf(block.key);
  const std::string part = path + ".part";
  std::error_code error;
  const bool written =
      bytes <= bytes_max_ && WriteWhole(part, HeaderOf(block.key, *block.bytes), *block.bytes);
  if (written) fs::rename(part, path, error);
  if (!written || error) {
    fs::remove(part, error);
    gone.push_back(block.key.hash);
    return gone;
  }
  Touch(path);  // the file system's own clock is coarser
  MutexLock lock(mutex_);
  Add(block.key, bytes);
  return gone;
}

bool DiskTier::Contains(const BlockKey& key) const {
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  return found != entries_.end() && found->second.key == key;
}

bool DiskTier::Get(const BlockKey& key, absl::Span<uint8_t> out, bool* gone) {
  *gone = false;
  {
    MutexLock lock(mutex_);
    const auto found = entries_.find(key.hash);
    if (found == entries_.end() || !(found->second.key == key)) return false;
    order_.splice(order_.end(), order_, found->second.place);
  }
  const ReadResult result = ReadWhole(PathOf(key), key, out);
  if (result == ReadResult::kOk) {
    Touch(PathOf(key));
    return true;
  }
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  if (found == entries_.end() || !(found->second.key == key)) return false;
  if (result == ReadResult::kDamaged) ++stats_.corrupt;
  Erase(key.hash);
  *gone = true;
  return false;
}

void DiskTier::Refresh(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  if (found != entries_.end()) order_.splice(order_.end(), order_, found->second.place);
}

bool DiskTier::HasHash(uint64_t hash) const {
  MutexLock lock(mutex_);
  return entries_.count(hash) > 0;
}

std::vector<uint64_t> DiskTier::Hashes() const {
  MutexLock lock(mutex_);
  return {order_.begin(), order_.end()};
}

TierStats DiskTier::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

void DiskTier::CountHit(double seconds) {
  MutexLock lock(mutex_);
  ++stats_.hits;
  stats_.hit_seconds += seconds;
}

}  // namespace baton::kvcache
