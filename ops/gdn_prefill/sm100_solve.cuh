// gdn_prefill on compute capability 10.0 and 10.3: T = (I + L)^-1 diag(beta) and P T of a chunk; no state is needed.
//
// Row i of [T; P T] before beta is the solution of x (I + L) = e_i, or row i of P: x_k is the right side's once x_j L_jk of all
// j > k is taken off. So a thread has a row of the two to itself, in fp32, and all threads read the same row of L.
#pragma once

#include "ops/gdn_prefill/sm100.cuh"

namespace sluice::gdn_sm100 {

inline constexpr int kSolveBarrier = 1;  // of the 16 hardware barriers

// One thread of a warp of its own: [K; Q] K^T of every chunk.
__device__ inline void multiply_rows(const Params& p, Shared& sm) {
  constexpr uint32_t kShape = ptx::tcgen05_shape(ptx::Half::kBf16, kC, ptx::Major::kSummed);
  each_chunk(p, [&](const Unit&, int, uint32_t n) {
    const Turn turn(n);
    turn.wait_full(sm.full);
    wait_products(sm.gram_used, n + 1);  // by the chunk before; at once for the first
    const uint64_t rows = rows_operand(&sm.stages[turn.stage].rows);
#pragma unroll
    for (int s = 0; s < kDim / 16; ++s) {
      const uint64_t at = ptx::tcgen05_advance(rows, s / 4 * 2 * kTile + s % 4 * 32);
      ptx::tcgen05_mma(sm.tensor_memory + kGram, at, at, kShape, s > 0);  // 128 rows from here on: K, Q; 64: K
    }
    ptx::tcgen05_commit(&sm.gram);
  });
}

// This thread's row of L or P from its row of K K^T or Q K^T. What lies above the diagonal is left out, not multiplied: its
// exponent may overflow.
__device__ inline void apply_gates(const Gates& gates, float scale, int row, bool query, float2 (&x)[kC / 2]) {
  const float factor = query ? scale : gates.beta[row], sum = gates.sum[row];
  const auto value = [&](int j, float product, float g) {
    return j < row + query ? factor * product * ptx::exp2_approx(sum - g) : 0.0f;
  };
#pragma unroll
  for (int j = 0; j < kC / 2; ++j) {
    const float2 g = *reinterpret_cast<const float2*>(gates.sum + 2 * j);
    x[j] = {value(2 * j, x[j].x, g.x), value(2 * j + 1, x[j].y, g.y)};
  }
}

__device__ inline void store_lower(float (&to)[kLowerPitch], const float2 (&x)[kC / 2]) {
#pragma unroll
  for (int j = 0; j < kC / 2; j += 2) *reinterpret_cast<float4*>(to + 2 * j) = {x[j].x, x[j].y, x[j + 1].x, x[j + 1].y};
}

// Row `row` of the identity.
__device__ inline void make_unit_row(int row, float2 (&x)[kC / 2]) {
  row = ptx::opaque(row);  // or all of it would be kept from one chunk to the next
#pragma unroll
  for (int j = 0; j < kC / 2; ++j) x[j] = {row == 2 * j ? 1.0f : 0.0f, row == 2 * j + 1 ? 1.0f : 0.0f};
}

// x <- x (I + L)^-1
__device__ inline void substitute(const float (&lower)[kC][kLowerPitch], float2 (&x)[kC / 2]) {
#pragma unroll
  for (int k = kC - 1; k > 0; --k) {
    const float known = -(k % 2 ? x[k / 2].y : x[k / 2].x);
#pragma unroll
    for (int j = 0; j < k; j += 4) {  // L_kj is zero from the diagonal on
      const float4 l = *reinterpret_cast<const float4*>(&lower[k][j]);
      x[j / 2] = __ffma2_rn({known, known}, {l.x, l.y}, x[j / 2]);
      x[j / 2 + 1] = __ffma2_rn({known, known}, {l.z, l.w}, x[j / 2 + 1]);
    }
  }
}

// The row times diag(beta), as fp16, to row `thread` of [T; P T].
__device__ inline void store_solved(uint8_t* solved, const float (&beta)[kC], int thread, const float2 (&x)[kC / 2]) {
#pragma unroll
  for (int unit = 0; unit < kRowBytes / 16; ++unit) {
    uint32_t h[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int j = 4 * unit + e;
      const float2 b = *reinterpret_cast<const float2*>(beta + 2 * j);
      h[e] = ptx::pack_fp16(b.x * x[j].x, b.y * x[j].y);
    }
    *reinterpret_cast<uint4*>(solved + thread * kRowBytes + (unit ^ thread % 8) * 16) = {h[0], h[1], h[2], h[3]};
  }
}

// The solving warpgroup. Thread t has lane t of [K; Q] K^T: row t of L and T, or row t - 64 of P and P T.
__device__ inline void solve_chunks(const Params& p, Shared& sm) {
  const int thread = threadIdx.x % kGroup, row = thread % kC;
  const bool query = thread >= kC;
  const uint32_t gram = own_lanes(sm.tensor_memory) + kGram;
  each_chunk(p, [&](const Unit&, int, uint32_t n) {
    const Turn turn(n);
    const Gates& gates = sm.gates[turn.stage];
    float2 x[kC / 2];
    turn.wait_full(sm.full);
    wait_products(sm.gram, n);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float products[32];
      fetch(products, gram + 32 * half);
#pragma unroll
      for (int j = 0; j < 16; ++j) x[16 * half + j] = {products[2 * j], products[2 * j + 1]};
    }
    ptx::tcgen05_fence_before();
    warp_arrive(&sm.gram_used);
    apply_gates(gates, p.scale, row, query, x);
    ptx::named_barrier(kSolveBarrier, kGroup);  // the chunk before needs its L no more
    if (!query) store_lower(sm.lower[row], x), make_unit_row(row, x);
    ptx::named_barrier(kSolveBarrier, kGroup);
    substitute(sm.lower, x);
    store_solved(sm.stages[turn.stage].solved[0], gates.beta, thread, x);
    ptx::fence_proxy_async();
    warp_arrive(&sm.solved[turn.stage]);
  });
}

}  // namespace sluice::gdn_sm100
