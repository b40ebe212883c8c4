#include "core/cuda/memory.h"

#include "core/cuda/status.h"

namespace sluice::cuda {

Result<Buffer> allocate(size_t bytes) {
  if (bytes == 0) return Buffer();
  void* p = nullptr;
  if (const cudaError_t e = cudaMalloc(&p, bytes); e != cudaSuccess) {
    cudaGetLastError();  // clears it: running out of memory is not a broken device
    return to_status(e, ("could not allocate " + std::to_string(bytes) + " bytes on the GPU").c_str());
  }
  return Buffer::adopt(p, bytes, [](void* data, size_t) { cudaFree(data); });
}

}  // namespace sluice::cuda
