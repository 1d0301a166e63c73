# The kernels of p_chip and d_chip. Each isa_*.cc is compiled for one instruction set; everything else for the baseline.
list(APPEND device_kernel_sources
  cpu_features.cc thread_team.cc
  kernels/kernel_set.cc kernels/packed_weight.cc kernels/repack.cc kernels/run_linear.cc kernels/run_attention.cc kernels/run_rows.cc
  kernels/run_experts.cc kernels/run_head_linear.cc
  kernels/isa_scalar.cc p_chip/p_chip.cc d_chip/d_chip.cc)
# The headers of GCC 12's AVX-512 intrinsics leave operands that a mask hides uninitialised on purpose.
set(isa_flags -O3 -fno-math-errno -Wno-unused-function -Wno-psabi -Wno-uninitialized -Wno-maybe-uninitialized)
if(BATON_SANITIZE)
  # UBSan makes these loops several times longer to compile and to run; AddressSanitizer watches their pointers.
  list(APPEND isa_flags -fno-sanitize=undefined)
  set(amx_sanitized -O1)  # else AddressSanitizer makes this file alone take minutes
endif()
set_source_files_properties(kernels/isa_scalar.cc PROPERTIES COMPILE_OPTIONS "${isa_flags}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND device_kernel_sources kernels/isa_avx2.cc kernels/isa_avxvnni.cc kernels/isa_avx512vnni.cc
    kernels/isa_amx.cc)
  set_source_files_properties(kernels/isa_avx2.cc PROPERTIES
    COMPILE_OPTIONS "${isa_flags};-mavx2;-mfma;-mf16c")
  set_source_files_properties(kernels/isa_avxvnni.cc PROPERTIES
    COMPILE_OPTIONS "${isa_flags};-mavx2;-mfma;-mf16c;-mavxvnni")
  set_source_files_properties(kernels/isa_avx512vnni.cc PROPERTIES
    COMPILE_OPTIONS "${isa_flags};-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512")
  set_source_files_properties(kernels/isa_amx.cc PROPERTIES
    COMPILE_OPTIONS "${isa_flags};-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx2;-mfma;-mf16c;-mamx-tile;-mamx-int8;-mamx-bf16;-mprefer-vector-width=512;${amx_sanitized}")
endif()
