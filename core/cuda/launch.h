// Launching a kernel: grid, shared memory, cluster and programmatic dependent launch in one call that returns Status.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "core/context.h"
#include "core/cuda/kernel_table.h"
#include "core/cuda/status.h"
#include "core/pdl.h"
#ifdef __CUDACC__
#include "core/cuda/ptx.h"
#endif

namespace sluice::cuda {

inline cudaStream_t stream_of(const Context& ctx) { return static_cast<cudaStream_t>(ctx.stream.handle); }

struct LaunchShape {
  dim3 grid, block;
  size_t shared = 0;     // bytes of dynamic shared memory
  unsigned cluster = 1;  // blocks along x that form a cluster
  // The kernel calls wait_for_previous_kernel() ahead of its first read or write of data that other kernels touch, and may so be
  // launched while the one before it ends. Ignored where the device, the compiled code, the context or the driver says no.
  bool dependent = false;
};

#ifdef __CUDACC__
// Every thread that touches memory which other kernels touch calls this first, and at least one of every block, also where it has
// nothing to do: the kernel behind this one waits for this one alone. Then the next kernel's blocks may be placed once all of this
// one's have come here. That they come while this one's stores are still to come is sound, because their wait covers all of them
// (tests/dependent_launch has a kernel that stores 100 us later), and gives what is read ahead of a wait its time.
__device__ inline void wait_for_previous_kernel() {
  ptx::wait_for_dependencies();
  ptx::launch_dependents();
}
#endif

// A grid without blocks launches nothing. Arguments are converted to the kernel's parameter types.
template <class... Params, class... Args>
Status launch(const Context& ctx, void (*kernel)(Params...), const LaunchShape& s, Args&&... args) {
  if (s.grid.x == 0 || s.grid.y == 0 || s.grid.z == 0) return {};
  constexpr unsigned kMostAcross = 65535;  // blocks along y or z
  if (s.grid.y > kMostAcross || s.grid.z > kMostAcross)
    return {Code::kUnsupported, "a kernel needs " + std::to_string(std::max(s.grid.y, s.grid.z)) +
                                    " blocks along one side of its grid, and a GPU has 65535: call with fewer sequences at a time"};
  KernelTable once, &table = ctx.kernels ? *ctx.kernels : once;
  SLUICE_ASSIGN_OR_RETURN(Kernel * known, table.find(reinterpret_cast<const void*>(kernel)));
  if (const size_t shared = s.shared + known->fixed_shared; shared > ctx.gpu->shared_memory)
    return {Code::kUnsupported, "a kernel needs " + std::to_string(shared) + " bytes of shared memory, and " + ctx.gpu->name +
                                    " gives a block " + std::to_string(ctx.gpu->shared_memory)};
  if (s.shared > known->shared) {
    SLUICE_RETURN_IF_ERROR(to_status(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(s.shared)),
                                     "shared memory of a kernel"));
    known->shared = s.shared;
  }
  cudaError_t error = cudaSuccess;
  const auto attempt = [&](bool dependent) {
    cudaLaunchAttribute attributes[2];
    unsigned count = 0;
    if (s.cluster > 1) {
      attributes[count].id = cudaLaunchAttributeClusterDimension;
      attributes[count++].val.clusterDim = {s.cluster, 1, 1};
    }
    if (dependent) {
      attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = s.grid, config.blockDim = s.block, config.dynamicSmemBytes = s.shared, config.stream = stream_of(ctx);
    config.attrs = attributes, config.numAttrs = count;
    error = cudaLaunchKernelEx(&config, kernel, Params(args)...);
    if (error == cudaSuccess) return Launched::kYes;
    if (!dependent || (error != cudaErrorNotSupported && error != cudaErrorInvalidValue)) return Launched::kFailed;
    return cudaGetLastError(), Launched::kRefused;  // and the error is taken back
  };
  const bool wanted = s.dependent && ctx.dependent_launch && starts_early(ctx.gpu).yes() && known->waits;
  launch_as_asked(ctx, wanted, table.early_refused, attempt);
  return to_status(error, "launch of a kernel");
}

}  // namespace sluice::cuda
