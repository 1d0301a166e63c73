#include "device/cpu_features.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace baton::device {
namespace {

#if defined(__x86_64__)
// The 8 KiB of tile registers are saved only for processes that asked for them (Linux 5.16).
bool MayUseTiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

}  // namespace

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
    found.amx = found.avx512vnni && __builtin_cpu_supports("amx-tile") &&
                __builtin_cpu_supports("amx-int8") && __builtin_cpu_supports("amx-bf16") &&
                MayUseTiles();
#endif
    return found;
  }();
  return features;
}

}  // namespace baton::device
