// Launching a kernel: grid, shared memory, cluster and programmatic dependent launch in one call that returns Status.
#pragma once

#include <cuda_runtime.h>

#include "core/context.h"
#include "core/cuda/status.h"

namespace sluice::cuda {

inline cudaStream_t stream_of(const Context& ctx) { return static_cast<cudaStream_t>(ctx.stream.handle); }

struct LaunchShape {
  dim3 grid, block;
  size_t shared = 0;     // bytes of dynamic shared memory
  unsigned cluster = 1;  // blocks along x that form a cluster
  // The kernel calls wait_for_previous_kernel() ahead of its first read or write of shared data, and
  // may so be launched while that one ends. Ignored before compute capability 9.0 and where the context says no.
  bool dependent = false;
};

#ifdef __CUDACC__
// Until here a kernel may run while the one before it on the stream ends; after it, that one's writes are seen. Nothing before
// sm_90.
__device__ inline void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
// The next kernel's blocks may be placed as soon as all of this one's have called this or ended.
__device__ inline void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}
#endif

// A grid without blocks launches nothing. Arguments are converted to the kernel's parameter types.
template <class... Params, class... Args>
Status launch(const Context& ctx, void (*kernel)(Params...), const LaunchShape& s, Args&&... args) {
  if (s.grid.x == 0 || s.grid.y == 0 || s.grid.z == 0) return {};
  constexpr size_t kDefaultShared = 48 << 10;  // bytes; more must be asked for
  if (s.shared > ctx.gpu->shared_memory)
    return {Code::kUnsupported, "a kernel needs " + std::to_string(s.shared) + " bytes of shared memory, and " + ctx.gpu->name +
                                    " gives a block " + std::to_string(ctx.gpu->shared_memory)};
  if (s.shared > kDefaultShared)
    SLUICE_RETURN_IF_ERROR(to_status(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(s.shared)),
                                     "shared memory of a kernel"));
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (s.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {s.cluster, 1, 1};
  }
  if (s.dependent && ctx.dependent_launch && ctx.gpu->major >= 9) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = s.grid, config.blockDim = s.block, config.dynamicSmemBytes = s.shared, config.stream = stream_of(ctx);
  config.attrs = attributes, config.numAttrs = count;
  return to_status(cudaLaunchKernelEx(&config, kernel, Params(args)...), "launch of a kernel");
}

}  // namespace sluice::cuda
