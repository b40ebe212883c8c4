// The pure half of base/cpu_features.h: what the instructions cpuid and xgetbv say, and which instruction sets that means.
#pragma once

#include <cstdint>

#include "base/cpu_features.h"

namespace sluice {

struct CpuidAnswers {
  uint32_t leaf0_ebx = 0;  // the vendor's name, its first four letters
  uint32_t leaf1_ecx = 0, leaf7_ebx = 0, leaf7_ecx = 0, leaf7_edx = 0, leaf7_1_eax = 0;
  uint64_t saved = 0;  // the register files that the operating system saves, XCR0
};

// For the tiles of AMX a process also needs the kernel's grant.
CpuFeatures features_of(const CpuidAnswers& answers);

}  // namespace sluice
