// What this CPU can run, read once from CPUID and from the operating system.
#pragma once

#include <string>

namespace sluice {

struct CpuFeatures {
  std::string brand;
  bool avx2 = false;         // AVX2, FMA and F16C
  bool avx512 = false;       // F, BW, VL and DQ, and the kernel saves their registers
  bool avx512_vnni = false;  // vpdpbusd
  bool avx512_bf16 = false;  // vdpbf16ps
  bool fast_bf16 = false;    // and one of it, which is two products a lane, takes no longer than an FMA
  bool amx_bf16 = false;     // tile multiply, and the kernel granted the tile registers to this process
  int physical_cores = 1;    // cores this process may run on, counting two hardware threads once
};

// Asks the kernel for the AMX tile registers on the way, which a process must do once before it uses them.
CpuFeatures detect_cpu_features();

}  // namespace sluice
