// gdn_prefill on compute capability 9.0: the units of work, in the order in which they are taken.
#pragma once

#include "ops/gdn_prefill/sm90.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kNormaliseThreads = 256;
inline constexpr int kPlanThreads = 1024;
inline constexpr int kMinSegment = 4;  // chunks
inline constexpr int kMaxCuts = 512;   // segments of cut sequences: at most two a multiprocessor
inline constexpr int kLengths = 1024;  // segments are sorted by length in chunks; those of more than 1023 count as one length

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

// A sequence's chunks: the first one ends at a multiple of 64 of the sequence's position.
struct Sequence {
  int begin, end, start, slot, first, chunks;

  __device__ Sequence(const Params& p, int b)
      : begin(p.cu_seqlens[b]), end(p.cu_seqlens[b + 1]), start(p.start[b]), slot(p.slots[b]) {
    first = min(kC - start % kC, end - begin);
    chunks = end == begin ? 0 : 1 + (end - begin - first + kC - 1) / kC;
    if (slot >= p.slot_count) slot = -1;
  }
  __device__ int row(int chunk) const { return chunk == 0 ? begin : min(begin + first + (chunk - 1) * kC, end); }
};

// Chunks that a unit should have, so that all multiprocessors have work and none much more than its share. Times in chunks' time:
// what a unit costs beside its chunks, and the two kernels more that cutting takes; a chunk of a map is half a chunk of the update.
inline constexpr float kUnitCost = 2.5f, kCutCost = 6, kMapCost = 0.5f;

// One sequence's heads come in equal pieces, so that the last round of them had better fill the multiprocessors. By one warp: a
// lane tries every 32nd number of pieces.
__device__ inline int best_share(const Params& p, int chunks) {
  constexpr uint32_t kNone = 0xffffffffu;
  uint32_t best = kNone;  // time in quarters of a chunk's, and the number of pieces in the lower ten bits
  for (int n = 1 + threadIdx.x % 32; n <= p.max_cuts; n += 32) {
    const int share = (chunks + n - 1) / n, rounds = (n * p.HV + p.sms - 1) / p.sms;
    const uint32_t time = min(uint32_t(4 * rounds * (share + kUnitCost)), 0x3fffffu);
    if (share >= kMinSegment) best = min(best, time << 10 | n);
  }
#pragma unroll
  for (int d = 16; d > 0; d /= 2) best = min(best, __shfl_xor_sync(0xffffffffu, best, d));
  const int pieces = best == kNone ? 1 : best & 1023;
  return (chunks + pieces - 1) / pieces;
}

// Called by all threads.
__device__ inline int share_of(const Params& p, int64_t all_chunks) {
  if (p.B > 1) return max(int((all_chunks * p.HV + p.sms - 1) / p.sms), kMinSegment);
  __shared__ int share;
  if (threadIdx.x < 32) {
    const int best = best_share(p, int(all_chunks));
    if (threadIdx.x == 0) share = best;
  }
  __syncthreads();
  return max(share, kMinSegment);
}

// Into how many segments a sequence is cut.
__device__ inline int segments_of(const Params& p, const Sequence& s, int share) {
  const bool pays = s.chunks > (1 + kMapCost) * share + kCutCost;
  return s.slot >= 0 && p.max_cuts > 0 && pays ? (s.chunks + share - 1) / share : 1;
}

// Chunks [chunk, chunk + chunks) of sequence b, as every value head takes them.
__device__ inline Unit make_unit(const Params& p, const Sequence& s, int b, int chunk, int chunks, int state) {
  Unit u{.head = 0, .seq = b, .slot = s.slot, .row = s.begin, .end = s.end, .state = state};
  if (u.slot < 0) return u;
  const int stop = s.start + s.end - s.begin, multiple = stop - stop % p.capacity;
  u.begins = chunk == 0, u.ends = chunk + chunks == s.chunks;
  u.fresh = p.has_state ? p.has_state[b] == 0 : s.start == 0;
  u.keep = u.ends && (u.fresh || multiple > s.start);
  u.open = u.fresh ? 0 : s.start % p.capacity;
  u.open_at = multiple > s.start ? 0 : u.open;
  u.row = s.row(chunk), u.end = s.row(chunk + chunks), u.first = s.row(chunk + 1) - u.row, u.chunks = chunks;
  const int last_rows = chunks == 1 ? u.first : (u.end - u.row - u.first - 1) % kC + 1;
  u.closed = u.ends ? max(last_rows - stop % p.capacity, 0) : last_rows;  // up to the last multiple of `capacity`
  u.index = p.first_chunk[b] + chunk;
  u.position = s.start / kC + chunk, u.whole = chunks - (u.ends && stop % kC != 0);
  return u;
}

// Sums of x over the threads before this one, and over all.
__device__ inline int sum_before(int x, int& all) {
  __shared__ int warps[kPlanThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = x;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const int below = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += below;
  }
  __syncthreads();
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  int upto = warps[lane];  // of warps up to `lane`
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const int below = __shfl_up_sync(0xffffffffu, upto, d);
    if (lane >= d) upto += below;
  }
  all = __shfl_sync(0xffffffffu, upto, 31);
  const int before = __shfl_sync(0xffffffffu, upto, max(warp - 1, 0));
  return sum - x + (warp ? before : 0);
}
static_assert(kPlanThreads == 32 * 32);

// The sequences that are cut, and the first of each one's segments, as counted in `cut_units`.
struct Cuts {
  int sequence[kMaxCuts / 2], first[kMaxCuts / 2], sequences, segments;
};

__device__ inline void list_cuts(const Params& p, int share, Cuts& cuts) {
  int segments = 0, sequences = 0;
  for (int base = 0; base < p.B; base += kPlanThreads) {
    const int b = base + threadIdx.x, pieces = b < p.B ? segments_of(p, Sequence(p, b), share) : 1;
    int new_segments, new_sequences;
    const int segment = segments + sum_before(pieces > 1 ? pieces : 0, new_segments);
    const int i = sequences + sum_before(pieces > 1, new_sequences);
    if (pieces > 1) cuts.sequence[i] = b, cuts.first[i] = segment;
    segments += new_segments, sequences += new_sequences;
  }
  if (threadIdx.x == 0) cuts.segments = segments, cuts.sequences = sequences;
  __syncthreads();
}

// Calls f(unit) for every segment.
template <class F>
__device__ inline void each_segment(const Params& p, int share, const Cuts& cuts, F f) {
  for (int b = threadIdx.x; b < p.B; b += kPlanThreads) {
    const Sequence s(p, b);
    if (segments_of(p, s, share) == 1) f(make_unit(p, s, b, 0, s.chunks, -1));
  }
  for (int state = threadIdx.x; state < cuts.segments; state += kPlanThreads) {
    int i = 0;
    while (i + 1 < cuts.sequences && cuts.first[i + 1] <= state) ++i;
    const int b = cuts.sequence[i], pieces = (i + 1 < cuts.sequences ? cuts.first[i + 1] : cuts.segments) - cuts.first[i];
    const Sequence s(p, b);
    const int64_t n = state - cuts.first[i];
    const int begin = int(n * s.chunks / pieces), end = int((n + 1) * s.chunks / pieces);
    f(make_unit(p, s, b, begin, end - begin, state));
  }
}

// Chunks of the sequences before each, and of all.
__device__ inline int count_chunks(const Params& p) {
  int all = 0;
  for (int base = 0; base < p.B; base += kPlanThreads) {
    const int b = base + threadIdx.x;
    int here = 0;
    const int before = all + sum_before(b < p.B ? Sequence(p, b).chunks : 0, here);
    if (b < p.B) p.first_chunk[b] = before;
    all += here;
  }
  __syncthreads();
  return all;
}

// Every chunk's rows, a warp a sequence; those of padding have none.
__device__ inline void list_chunks(const Params& p) {
  for (int b = threadIdx.x / 32; b < p.B; b += kPlanThreads / 32) {
    const Sequence s(p, b);
    for (int c = threadIdx.x % 32; c < s.chunks; c += 32)
      p.chunk_rows[p.first_chunk[b] + c] = {.row = s.row(c), .rows = s.slot < 0 ? 0 : s.row(c + 1) - s.row(c)};
  }
}

// Units sorted by falling length, so that a long one does not start last.
__global__ void __launch_bounds__(kPlanThreads) gdn_prefill_sm90_plan(const __grid_constant__ Params p) {
  __shared__ int place[kLengths];  // segments of a length; then where the next of them goes
  __shared__ Cuts cuts;
  const auto length = [](const Unit& u) { return min(u.chunks, kLengths - 1); };
  for (int i = threadIdx.x; i < kLengths; i += kPlanThreads) place[i] = 0;
  if (threadIdx.x == 0) cuts.segments = cuts.sequences = 0;
  cuda::wait_for_previous_kernel();
  for (int i = threadIdx.x; i < p.B * p.HK; i += kPlanThreads) p.tickets[i] = 0;
  int segments = 0;
  const int chunks = count_chunks(p);
  const int share = p.max_cuts ? share_of(p, chunks) : 0;
  if (p.max_cuts) list_cuts(p, share, cuts);
  if (p.solved) list_chunks(p);
  __syncthreads();
  each_segment(p, share, cuts, [&](const Unit& u) { atomicAdd(&place[length(u)], 1); });
  __syncthreads();
  const int mine = kLengths - 1 - threadIdx.x, before = sum_before(place[mine], segments);
  place[mine] = before;
  __syncthreads();
  each_segment(p, share, cuts, [&](const Unit& u) {
    p.units[atomicAdd(&place[length(u)], 1)] = u;
    if (u.state >= 0) p.cut_units[u.state] = u;
  });
  if (threadIdx.x == 0) *p.counts = {.next = 0, .next_map = 0, .segments = segments, .cuts = cuts.segments, .chunks = chunks};
}
static_assert(kPlanThreads == kLengths);

}  // namespace sluice::gdn_sm90
