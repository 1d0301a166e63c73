// What an engine runs on: a device with a model, and a KV pool that fits the machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "device/device_factory.h"
#include "kvcache/block_pool.h"
#include "kvcache/kv_layout.h"
#include "kvcache/kv_store.h"
#include "kvcache/prefix_cache.h"
#include "models/model_registry.h"

namespace baton::engine {

struct AssemblyOptions {
  std::string model;  // path
  device::DeviceOptions
      device;  // threads 0: half of the CPUs that this process may use, at least 1
  int32_t batch_tokens_max = 512;
  int64_t context_max = 0;       // 0: the model's own
  int32_t block_tokens = 32;     // 16, 32 or 64
  std::string kv_dtype = "f16";  // "f16", "bf16" or "f32"
  int64_t kv_bytes = 0;          // 0: a quarter of the free memory, at most 4 GiB
  bool prefix_cache = true;
  int64_t cache_host_bytes = 0;  // 0: no host tier below the pool
  std::string cache_disk;        // folder of the disk tier; empty: none
  int64_t cache_disk_bytes = 0;
  std::function<void(float)> on_progress;
};

// Declared in order of dependence: members are destroyed from the last to the first.
struct Assembly {
  std::unique_ptr<device::Device> device;
  std::unique_ptr<models::Model> model;
  std::unique_ptr<kvcache::KvStore> store;
  std::unique_ptr<kvcache::BlockPool> pool;
  std::unique_ptr<kvcache::PrefixCache> cache;  // null: off
  kvcache::KvLayout layout;
};

// From its name in configurations. InvalidArgument: not f16, bf16 or f32.
absl::StatusOr<device::DType> KvDType(const std::string& name);

// Errors of the parts; InvalidArgument for a block size that is not 16, 32 or 64, or a kv_dtype as
// above; ResourceExhausted when the pool would not hold one sequence of the full context, with the
// numbers.
absl::StatusOr<Assembly> Assemble(const AssemblyOptions& options);

// CPUs that this process may use (its affinity mask).
int UsableCpus();

}  // namespace baton::engine
