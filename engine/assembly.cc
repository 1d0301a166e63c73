#include "engine/assembly.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "kvcache/block_table.h"

namespace baton::engine {
namespace {

constexpr int64_t kDefaultPoolBytesMax = int64_t{4} << 30;

// MemAvailable of /proc/meminfo; 0 where it cannot be read.
int64_t AvailableMemory() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (meminfo >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    std::getline(meminfo, unit);
  }
  return 0;
}

device::KvGeometry GeometryOf(const models::ModelConfig& config, int32_t block_tokens,
                              device::DType kv_dtype) {
  return {.layers = config.layers,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .block_tokens = block_tokens,
          .dtype = kv_dtype,
          .latent_dim = config.kv_latent_dim};
}

int64_t PoolBytes(const AssemblyOptions& options) {
  if (options.kv_bytes > 0) return options.kv_bytes;
  return std::min(AvailableMemory() / 4, kDefaultPoolBytesMax);
}

// Where nobody asks for a context: the model's own, or as much of it as the pool holds. Models of
// 128k positions and more are common, pools for them are not.
absl::StatusOr<int64_t> ContextFor(const AssemblyOptions& options, device::DType kv_dtype) {
  if (options.context_max > 0) return options.context_max;
  BATON_ASSIGN_OR_RETURN(const models::ModelConfig config, models::ReadModelConfig(options.model));
  const device::KvGeometry geometry = GeometryOf(config, options.block_tokens, kv_dtype);
  const int64_t held = PoolBytes(options) / geometry.BlockBytesTotal() * options.block_tokens;
  return held == 0 ? config.context_length : std::min(config.context_length, held);
}

absl::StatusOr<int32_t> PoolBlocks(const AssemblyOptions& options,
                                   const device::KvGeometry& geometry, int64_t context) {
  const int64_t bytes = PoolBytes(options);
  const int64_t blocks = std::min<int64_t>(bytes / geometry.BlockBytesTotal(), INT32_MAX);
  const int32_t needed = kvcache::BlocksFor(context, options.block_tokens);
  if (blocks < needed) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "KV pool of ", bytes, " bytes holds ", blocks, " blocks of ", geometry.BlockBytesTotal(),
        " bytes; one sequence of ", context, " tokens needs ", needed, " (",
        needed * geometry.BlockBytesTotal(), " bytes): raise kv_bytes or lower max_context"));
  }
  return static_cast<int32_t>(blocks);
}

std::string LayoutName(const kvcache::KvLayout& layout) {
  const device::KvGeometry& g = layout.geometry;
  return absl::StrFormat("%016x-%d-%dx%dx%d-%s-%d-v%d", layout.model_fingerprint, g.layers,
                         g.kv_heads, g.head_dim, g.latent_dim,
                         std::string(device::DTypeName(g.dtype)), g.block_tokens, layout.version);
}

absl::Status MakeCache(const AssemblyOptions& options, Assembly* parts) {
  parts->cache = std::make_unique<kvcache::PrefixCache>(*parts->pool, options.block_tokens,
                                                        parts->layout.model_fingerprint);
  if (options.cache_host_bytes == 0 && options.cache_disk.empty()) return absl::OkStatus();
  BATON_ASSIGN_OR_RETURN(std::unique_ptr<kvcache::TierStore> tiers,
                         kvcache::TierStore::Create({.host_bytes = options.cache_host_bytes,
                                                     .disk_folder = options.cache_disk,
                                                     .disk_layout = LayoutName(parts->layout),
                                                     .disk_bytes = options.cache_disk_bytes},
                                                    SystemClock::Get()));
  parts->cache->SetTiers(std::move(tiers), *parts->store);
  return absl::OkStatus();
}

}  // namespace

int UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

absl::StatusOr<device::DType> KvDType(const std::string& name) {
  for (const device::DType dtype :
       {device::DType::kF16, device::DType::kBF16, device::DType::kF32}) {
    if (device::DTypeName(dtype) == name) return dtype;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("kv_dtype is '", name, "', needs f16, bf16 or f32"));
}

absl::StatusOr<Assembly> Assemble(const AssemblyOptions& options) {
  if (options.block_tokens != 16 && options.block_tokens != 32 && options.block_tokens != 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("block_tokens is ", options.block_tokens, ", needs 16, 32 or 64"));
  }
  if (options.model.empty()) {
    return absl::InvalidArgumentError("no model given: --model FILE (GGUF) or folder");
  }
  BATON_ASSIGN_OR_RETURN(const device::DType kv_dtype, KvDType(options.kv_dtype));
  Assembly parts;
  device::DeviceOptions device = options.device;
  if (device.threads == 0) device.threads = std::max(1, UsableCpus() / 2);
  BATON_ASSIGN_OR_RETURN(parts.device, device::CreateDevice(device));
  models::LoadOptions load;
  load.max_batch_tokens = options.batch_tokens_max;
  BATON_ASSIGN_OR_RETURN(load.max_context, ContextFor(options, kv_dtype));
  load.on_progress = options.on_progress;
  BATON_ASSIGN_OR_RETURN(parts.model, models::LoadModel(options.model, *parts.device, load));
  const models::ModelConfig& config = parts.model->config();
  const device::KvGeometry geometry = GeometryOf(config, options.block_tokens, kv_dtype);
  BATON_ASSIGN_OR_RETURN(const int32_t blocks,
                         PoolBlocks(options, geometry, config.context_length));
  BATON_ASSIGN_OR_RETURN(parts.store, kvcache::KvStore::Create(*parts.device, geometry, blocks));
  parts.pool = std::make_unique<kvcache::BlockPool>(blocks);
  parts.layout = {.geometry = geometry, .model_fingerprint = config.fingerprint};
  if (options.prefix_cache) BATON_RETURN_IF_ERROR(MakeCache(options, &parts));
  return parts;
}

}  // namespace baton::engine
