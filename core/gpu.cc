#include "core/gpu.h"

#if SLUICE_HAS_CUDA
#include <cuda_runtime_api.h>
#endif

namespace sluice {

#if SLUICE_HAS_CUDA

GpuList detect_gpus() {
  int count = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&count); e != cudaSuccess) return {{}, cudaGetErrorString(e)};
  GpuList list;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp p;
    if (const cudaError_t e = cudaGetDeviceProperties(&p, i); e != cudaSuccess) return {{}, cudaGetErrorString(e)};
    list.gpus.push_back({.name = p.name,
                         .major = p.major,
                         .minor = p.minor,
                         .sms = p.multiProcessorCount,
                         .shared_memory = p.sharedMemPerBlockOptin,
                         .memory = p.totalGlobalMem,
                         .cuda_version = CUDART_VERSION});
  }
  if (count == 0) list.why_none = "the driver reports none";
  return list;
}

int build_cuda_version() { return CUDART_VERSION; }

#else

int build_cuda_version() { return 0; }

GpuList detect_gpus() { return {{}, "this build has no CUDA"}; }

#endif

}  // namespace sluice
