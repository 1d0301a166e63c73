// A plugin that does wrong what the environment variable BATON_FAULTY says. It computes rms_norm
// only.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "device/plugin/baton_device.h"

struct baton_device {};
struct baton_weight {};

namespace {

bool Faulty(const char* what) {
  const char* wanted = std::getenv("BATON_FAULTY");
  return wanted != nullptr && std::strcmp(wanted, what) == 0;
}

int Open(int, baton_device** device, char* error, size_t error_bytes) {
  if (Faulty("open")) {
    std::snprintf(error, error_bytes, "no chip in the socket");
    return BATON_FAILED;
  }
  *device = new baton_device;
  return BATON_OK;
}

int Run(baton_device*, int32_t, const void* args) {
  const auto& a = *static_cast<const baton_rms_norm_args*>(args);
  if (Faulty("crash")) std::abort();
  if (Faulty("hang")) std::this_thread::sleep_for(std::chrono::hours(1));
  if (Faulty("fail")) return BATON_FAILED;
  for (int64_t r = 0; r < a.in.rows; ++r) {
    std::memcpy(a.out.data + r * a.out.stride, a.in.data + r * a.in.stride, a.in.cols * 4);
  }
  if (Faulty("nan")) a.out.data[a.out.stride + 2] = NAN;
  return BATON_OK;
}

baton_device_table Table() {
  baton_device_table table = {};
  table.abi_version = Faulty("version") ? 99 : BATON_DEVICE_ABI_VERSION;
  table.table_bytes = sizeof(table);
  table.name = "faulty";
  table.open = Open;
  table.close = [](baton_device* device) { delete device; };
  table.description = [](const baton_device*) { return "does wrong what it is told"; };
  table.last_error = [](const baton_device*) { return "the chip is on fire"; };
  table.supports = [](const baton_device*, int32_t op, int32_t) {
    return op == BATON_OP_RMS_NORM ? 1 : 0;
  };
  table.allocate = [](baton_device*, size_t bytes) {
    return std::memset(std::aligned_alloc(64, (bytes + 63) / 64 * 64), 0, bytes);
  };
  table.release = [](baton_device*, void* data, size_t) { std::free(data); };
  table.copy = [](baton_device*, void* to, const void* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    return int{BATON_OK};
  };
  table.prepare = [](baton_device*, const baton_stored*, baton_weight**) {
    return int{BATON_FAILED};
  };
  table.release_weight = [](baton_device*, baton_weight*) {};
  table.weight_bytes = [](const baton_device*, const baton_weight*) { return int64_t{0}; };
  table.run = Faulty("incomplete") ? nullptr : Run;
  return table;
}

}  // namespace

extern "C" const baton_device_table* baton_device_plugin(uint32_t) {
  static baton_device_table table;
  table = Table();
  return &table;
}
