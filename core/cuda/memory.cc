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

size_t memory_left() {
  size_t left = 0, whole = 0;
  return cudaMemGetInfo(&left, &whole) == cudaSuccess ? left : 0;
}

Status copy(Stream stream, const void* from, size_t bytes, void* to) {
  if (bytes == 0) return {};
  return to_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream.handle)),
                   "copy on the GPU");
}

Status fill(Stream stream, void* to, int value, size_t bytes) {
  if (bytes == 0) return {};
  return to_status(cudaMemsetAsync(to, value, bytes, static_cast<cudaStream_t>(stream.handle)), "filling memory of the GPU");
}

Status download(Stream stream, const void* device, size_t bytes, void* host) {
  const auto s = static_cast<cudaStream_t>(stream.handle);
  if (bytes > 0)
    SLUICE_RETURN_IF_ERROR(to_status(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, s), "copy from the GPU"));
  return to_status(cudaStreamSynchronize(s), "the GPU's stream");
}

}  // namespace sluice::cuda
