#include "core/cuda/launch.h"
#include "core/cuda/memory.h"
#include "core/cuda/rows.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;

// SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014) of a count.
__device__ uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

__global__ void __launch_bounds__(kThreads) fill_random_kernel(Bf16* to, int64_t count, float scale, uint64_t seed) {
  wait_for_previous_kernel();
  const int64_t threads = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += threads) {
    const auto bits = int32_t(mixed(seed + uint64_t(i) * 0x9e3779b97f4a7c15u) >> 32);
    to[i] = from_float<Bf16>(scale * 0x1p-31f * float(bits));
  }
}

}  // namespace

Status fill_random(Context& ctx, Bf16* to, int64_t count, float scale, uint64_t seed) {
  if (count == 0) return {};
  constexpr int kBlocks = 4096;
  return launch(ctx, fill_random_kernel, {.grid = kBlocks, .block = kThreads, .dependent = true}, to, count, scale, seed);
}

}  // namespace sluice::cuda
