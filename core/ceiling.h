// What GPUs can do at best, as measured: bytes of a copy, and matrix products of bf16 on random data.
#pragma once

#include "core/gpu.h"

namespace sluice {

struct Ceiling {
  const char* device = nullptr;
  double bytes_per_s = 0, flops_per_s = 0;
};
inline constexpr Ceiling kCeilings[] = {{"NVIDIA H200", 4.3e12, 775e12}, {"NVIDIA H100 80GB HBM3", 3.0e12, 798e12}};

// Null for a GPU that was not measured.
inline const Ceiling* ceiling_of(const Gpu& gpu) {
  for (const Ceiling& c : kCeilings)
    if (gpu.name == c.device) return &c;
  return nullptr;
}

}  // namespace sluice
