#include <cstring>

#include "core/cuda/launch.h"
#include "core/cuda/upload.h"
#include "core/cuda/upload_kernel.h"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;

struct Cargo {
  uint32_t word[kUploadByKernel / sizeof(uint32_t)];
};

__global__ void __launch_bounds__(kThreads) upload_kernel(const __grid_constant__ Cargo cargo, std::byte* to, uint32_t bytes) {
  wait_for_previous_kernel();
  const uint32_t words = bytes / sizeof(uint32_t);
  for (uint32_t i = threadIdx.x; i < words; i += kThreads) reinterpret_cast<uint32_t*>(to)[i] = cargo.word[i];
  const uint32_t rest = words * sizeof(uint32_t) + threadIdx.x;
  if (rest < bytes) to[rest] = std::byte(cargo.word[words] >> 8 * threadIdx.x);
}

}  // namespace

Status upload_by_kernel(const Context& ctx, const void* host, size_t bytes, void* device) {
  Cargo cargo{};
  std::memcpy(&cargo, host, bytes);
  return launch(ctx, upload_kernel, {.grid = 1, .block = kThreads, .dependent = true}, cargo, static_cast<std::byte*>(device),
                uint32_t(bytes));
}

}  // namespace sluice::cuda
