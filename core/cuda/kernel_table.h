// What launches know of kernels, asked of CUDA once a kernel. A table belongs to one runtime and one thread.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <unordered_map>

#include "core/cuda/status.h"

namespace sluice::cuda {

struct Kernel {
  // The compiled image has the wait for the kernel before it: its code was compiled for sm_90 or newer. Code that a driver made
  // from older PTX has none, on whatever GPU it runs, and must not be launched early.
  bool waits = false;
  size_t fixed_shared = 0;  // bytes of shared memory that the code itself lays out
  size_t shared = 0;        // bytes beyond those that a block may have without asking CUDA first
};

inline Result<Kernel> ask_for_kernel(const void* kernel) {
  cudaFuncAttributes a{};
  SLUICE_RETURN_IF_ERROR(to_status(cudaFuncGetAttributes(&a, kernel), "attributes of a kernel"));
  constexpr int kFirstWithWait = 90;           // 10 * major + minor of a compute capability
  constexpr size_t kWithoutAsking = 48 << 10;  // bytes of both kinds
  return Kernel{.waits = a.ptxVersion >= kFirstWithWait,
                .fixed_shared = a.sharedSizeBytes,
                .shared = kWithoutAsking - std::min(kWithoutAsking, a.sharedSizeBytes)};
}

class KernelTable {
 public:
  Result<Kernel*> find(const void* kernel) {
    const auto it = kernels_.find(kernel);
    if (it != kernels_.end()) return &it->second;
    SLUICE_ASSIGN_OR_RETURN(const Kernel k, ask_for_kernel(kernel));
    return &kernels_.emplace(kernel, k).first->second;
  }
  bool early_refused = false;  // the driver does not know dependent launches

 private:
  std::unordered_map<const void*, Kernel> kernels_;
};

}  // namespace sluice::cuda
