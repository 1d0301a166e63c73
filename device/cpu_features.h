// What this CPU can execute, with the operating system's consent (CPUID and XGETBV).
#pragma once

namespace baton::device {

struct CpuFeatures {
  bool avx2 = false;        // with FMA and F16C
  bool avx512vnni = false;  // F, BW, DQ, VL and VNNI, ZMM state enabled
  bool avx_vnni = false;    // VNNI on 256 bits without AVX-512; with avx2
  bool avx512bf16 = false;  // with avx512vnni
  // Tiles of int8 and bfloat16, with avx512vnni; Linux has let this process use them.
  bool amx = false;
};

// Read once, then cached; asks Linux for AMX on the way. All false on CPUs that are not x86-64.
const CpuFeatures& HostCpuFeatures();

}  // namespace baton::device
