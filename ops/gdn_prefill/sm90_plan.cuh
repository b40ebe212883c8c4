// gdn_prefill on compute capability 9.0: which chunks there are, and the order of the sequences.
#pragma once

#include "ops/gdn_prefill/sm90.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kPlanThreads = 256;

// Sequences by falling length, so that a long one does not start last.
__device__ inline void order_sequences(const Params& p) {
  const auto length = [&](int b) { return p.cu_seqlens[b + 1] - p.cu_seqlens[b]; };
  for (int b = threadIdx.x; b < p.B; b += kPlanThreads) {
    int rank = 0;
    for (int other = 0; other < p.B; ++other) rank += length(other) > length(b) || (length(other) == length(b) && other < b);
    p.order[rank] = b;
  }
}

// Prefix sums of the sequences' chunks, by one warp.
__device__ inline void count_chunks(const Params& p) {
  const int lane = threadIdx.x;
  int before = 0;
  for (int base = 0; base < p.B; base += 32) {
    const int b = base + lane;
    int sum = b < p.B ? chunk_span(p, b, 0).chunks : 0;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int below = __shfl_up_sync(0xffffffffu, sum, d);
      if (lane >= d) sum += below;
    }
    if (b < p.B) p.first_chunk[b + 1] = before + sum;
    before += __shfl_sync(0xffffffffu, sum, 31);
  }
}

__global__ void __launch_bounds__(kPlanThreads) gdn_prefill_sm90_plan(const __grid_constant__ Params p) {
  ptx::grid_dependency_wait();
  ptx::grid_dependency_launch();
  if (threadIdx.x == 0) *p.next = 0, p.first_chunk[0] = 0;
  for (int i = threadIdx.x; i < p.B * p.HK; i += kPlanThreads) p.tickets[i] = 0;
  if (threadIdx.x < 32) count_chunks(p);
  order_sequences(p);
}

}  // namespace sluice::gdn_sm90
