#include "bench/machine/peaks.h"

#include "bench/machine/peak_loops.h"
#include "device/cpu_features.h"

namespace baton::bench {

std::vector<Peak> AvailablePeaks() {
  std::vector<Peak> peaks;
#if defined(__x86_64__)
  const device::CpuFeatures& cpu = device::HostCpuFeatures();
  if (cpu.avx2) {
    peaks.push_back({"fp32 FMA, AVX2", "fp32_avx2", Fp32Avx2, kFp32Avx2Ops});
    peaks.push_back({"int8 dot, AVX2", "int8_avx2", Int8Avx2, kInt8Avx2Ops});
  }
  if (cpu.avx_vnni) {
    peaks.push_back({"int8 dot, AVX-VNNI", "int8_avxvnni", Int8AvxVnni, kInt8AvxVnniOps});
  }
  if (cpu.avx512vnni) {
    peaks.push_back({"fp32 FMA, AVX-512", "fp32_avx512", Fp32Avx512, kFp32Avx512Ops});
    peaks.push_back(
        {"int8 dot, AVX-512 VNNI", "int8_avx512vnni", Int8Avx512Vnni, kInt8Avx512VnniOps});
  }
  if (cpu.avx512bf16) {
    peaks.push_back({"bf16 dot, AVX-512 BF16", "bf16_avx512", Bf16Avx512, kBf16Avx512Ops});
  }
  if (cpu.amx) {
    peaks.push_back({"int8 dot, AMX", "int8_amx", Int8Amx, kInt8AmxOps});
    peaks.push_back({"bf16 dot, AMX", "bf16_amx", Bf16Amx, kBf16AmxOps});
  }
#endif
  return peaks;
}

}  // namespace baton::bench
