// A GPU, as far as the choice of an implementation depends on it. Plain data: tests make devices up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

struct Gpu {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int sms = 0;               // streaming multiprocessors
  size_t shared_memory = 0;  // bytes a block may have after opting in
  size_t memory = 0;         // bytes
  int cuda_version = 0;      // of the toolkit this program was built with, 1000 * major + 10 * minor; 0: unknown
};

struct GpuList {
  std::vector<Gpu> gpus;  // by CUDA's index
  std::string why_none;   // where the list is empty
};

GpuList detect_gpus();

// CUDA's version that this program was built with, as Gpu::cuda_version; 0: without CUDA.
int build_cuda_version();

}  // namespace sluice
