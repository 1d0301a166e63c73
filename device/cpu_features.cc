#include "device/cpu_features.h"

namespace baton::device {

const CpuFeatures& HostCpuFeatures() {
  static const CpuFeatures features = [] {
    CpuFeatures found;
#if defined(__x86_64__)
    // GCC's run-time support checks CPUID leaf 7 together with XGETBV, so a level that the system
    // does not save on a context switch is not reported.
    __builtin_cpu_init();
    found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                 __builtin_cpu_supports("f16c");
    found.avx512vnni = found.avx2 && __builtin_cpu_supports("avx512f") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    found.avx_vnni = found.avx2 && __builtin_cpu_supports("avxvnni");
    found.avx512bf16 = found.avx512vnni && __builtin_cpu_supports("avx512bf16");
#endif
    return found;
  }();
  return features;
}

}  // namespace baton::device
