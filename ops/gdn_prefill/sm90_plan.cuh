// gdn_prefill on compute capability 9.0: which chunks there are, and the order of the sequences.
#pragma once

#include "ops/gdn_prefill/sm90.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kPlanThreads = 256;

inline constexpr int kNormaliseThreads = 256;

// Rows of one head of q or k.
struct RowsIn {
  const __nv_bfloat16* data;
  int64_t row_stride, head_stride;
};

// Rows divided by their norms to [T, HK, 128], a warp a row; block row 0 takes q, 1 k.
__global__ void __launch_bounds__(kNormaliseThreads)
    gdn_prefill_sm90_normalise(RowsIn q, RowsIn k, __nv_bfloat16* to_q, __nv_bfloat16* to_k, int64_t rows, int HK, float eps) {
  cuda::wait_for_previous_kernel();
  const int lane = threadIdx.x % 32;
  const int64_t i = (int64_t(blockIdx.x) * kNormaliseThreads + threadIdx.x) / 32;
  if (i >= rows) return;
  const RowsIn in = blockIdx.y ? k : q;
  const uint2 x = reinterpret_cast<const uint2*>(in.data + i / HK * in.row_stride + i % HK * in.head_stride)[lane];
  const float a = __uint_as_float(x.x << 16), b = __uint_as_float(x.x & 0xffff0000u), c = __uint_as_float(x.y << 16),
              d = __uint_as_float(x.y & 0xffff0000u);
  float sum = a * a + b * b + c * c + d * d;
#pragma unroll
  for (int delta = 16; delta > 0; delta /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, delta);
  const float r = rsqrtf(sum + eps);
  reinterpret_cast<uint2*>((blockIdx.y ? to_k : to_q) + i * kDim)[lane] = {ptx::pack_bf16(r * a, r * b),
                                                                           ptx::pack_bf16(r * c, r * d)};
}

inline constexpr int kMinSegment = 6;  // chunks

// Prefix sums of f over the sequences, by one warp.
template <class F>
__device__ inline void prefix_sums(int count, int32_t* to, F f) {
  const int lane = threadIdx.x % 32;
  int before = 0;
  if (lane == 0) to[0] = 0;
  for (int base = 0; base < count; base += 32) {
    const int b = base + lane;
    int sum = b < count ? f(b) : 0;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int below = __shfl_up_sync(0xffffffffu, sum, d);
      if (lane >= d) sum += below;
    }
    if (b < count) to[b + 1] = before + sum;
    before += __shfl_sync(0xffffffffu, sum, 31);
  }
}

// Into how many segments sequence b is cut, so that no unit is much longer than a multiprocessor's share of all. A chunk takes the
// update 1.8 us, the map 1.1; the two kernels more cost 22 us.
__device__ inline int segments_of(const Params& p, int b) {
  const int64_t all = int64_t(p.first_chunk[p.B]) * p.HV;
  const int share = max(kMinSegment, int((all + p.sms - 1) / p.sms)), chunks = p.first_chunk[b + 1] - p.first_chunk[b];
  const bool pays = 1.8f * chunks > (1.8f + 1.1f) * share + 22.0f;
  return p.slots[b] >= 0 && p.max_cuts > 0 && pays ? max(chunks / share, 1) : 1;
}

// Every chunk's rows, a warp a sequence; what is left of the table is marked as unused.
__device__ inline void list_chunks(const Params& p) {
  const int lane = threadIdx.x % 32, warps = kPlanThreads / 32;
  for (int b = threadIdx.x / 32; b < p.B; b += warps) {
    const int chunks = p.first_chunk[b + 1] - p.first_chunk[b];
    for (int c = lane; c < chunks; c += 32) {
      const Span span = chunk_span(p, b, c);
      p.chunk_rows[p.first_chunk[b] + c] = {.row = span.row,
                                            .rows = span.rows,
                                            .closed = c + 1 < chunks ? span.rows : closed_rows(p, b, span.rows),
                                            .solve = p.slots[b] >= 0};
    }
  }
  for (int n = p.first_chunk[p.B] + threadIdx.x; n < p.max_chunks; n += kPlanThreads) p.chunk_rows[n].solve = 0;
}

__device__ inline void list_segments(const Params& p) {
  for (int b = threadIdx.x; b < p.B; b += kPlanThreads) {
    const int pieces = p.first_segment[b + 1] - p.first_segment[b], chunks = p.first_chunk[b + 1] - p.first_chunk[b];
    for (int i = 0; i < pieces; ++i) {
      const int begin = int64_t(i) * chunks / pieces, end = int64_t(i + 1) * chunks / pieces,
                state = pieces > 1 ? p.first_cut[b] + i : -1;
      p.segments[p.first_segment[b] + i] = {.seq = b, .chunk = begin, .chunks = end - begin, .state = state};
      if (state >= 0) p.cuts[state] = p.first_segment[b] + i;
    }
  }
}

// Segments by falling length, so that a long one does not start last.
__device__ inline void order_segments(const Params& p, int count) {
  for (int i = threadIdx.x; i < count; i += kPlanThreads) {
    const int chunks = p.segments[i].chunks;
    int rank = 0;
    for (int j = 0; j < count; ++j) rank += p.segments[j].chunks > chunks || (p.segments[j].chunks == chunks && j < i);
    p.order[rank] = i;
  }
}

__global__ void __launch_bounds__(kPlanThreads) gdn_prefill_sm90_plan(const __grid_constant__ Params p) {
  cuda::wait_for_previous_kernel();
  cuda::let_next_kernel_start();
  const int warp = threadIdx.x / 32;
  for (int i = threadIdx.x; i < p.B * p.HK; i += kPlanThreads) p.tickets[i] = 0;
  if (warp == 0) prefix_sums(p.B, p.first_chunk, [&](int b) { return chunk_span(p, b, 0).chunks; });
  __syncthreads();
  const auto cuts_of = [&](int b) { return segments_of(p, b) > 1 ? segments_of(p, b) : 0; };
  if (warp == 0) prefix_sums(p.B, p.first_segment, [&](int b) { return segments_of(p, b); });
  if (warp == 1) prefix_sums(p.B, p.first_cut, cuts_of);
  __syncthreads();
  if (threadIdx.x == 0) *p.counts = {.next = 0, .next_map = 0, .segments = p.first_segment[p.B], .cuts = p.first_cut[p.B]};
  list_segments(p);
  list_chunks(p);
  __syncthreads();
  order_segments(p, p.first_segment[p.B]);
}

}  // namespace sluice::gdn_sm90
