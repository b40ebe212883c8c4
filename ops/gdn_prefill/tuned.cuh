// What the forms of gdn_prefill for compute capability 9.0 and 10.0 share: the algebra of a chunk, a call's parameters, the slice
// of the pool, the factors that come from gates.
//
// A chunk is 64 rows. With S the state at its start, G_i the sum of log_g over its rows 0..i, D_ij = e^{G_i-G_j}, gamma_i =
// e^{G_i}, L = strictLower(diag(beta) K K^T o D), T = (I + L)^-1 diag(beta) and P = scale lower(Q K^T o D):
//
//   W = V - diag(gamma) K S;  [U | O] = [T; P T] W + [0 | scale diag(gamma) Q S];  S <- e^{G_last} S + K^T diag(e^{G_last-G_i}) U
#pragma once

#include <cuda_bf16.h>

#include "core/cuda/ptx.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice::gdn_tuned {

namespace ptx = cuda::ptx;

inline constexpr int kDim = 128;       // K = V
inline constexpr int kC = 64;          // rows of a chunk
inline constexpr int kGroup = 128;     // threads of a warpgroup
inline constexpr int kRowBytes = 128;  // a shared-memory row: 64 elements of 16 bits, swizzled over 8 rows
inline constexpr int kTile = kC * kRowBytes;
inline constexpr float kLog2E = 1.4426950408889634f;

// K and Q of 64 features alternate: Q's rows follow K's in either half, so that both may be one operand of 128 rows.
struct KeysQueries {
  uint8_t k0[kTile], q0[kTile], k1[kTile], q1[kTile];
};

// Factors of a chunk's rows, G being the sum of log_g so far; rows past its end have g = 0 and beta = 0. Beside them stands
// `whole`, e^{G_last}.
struct RowFactors {
  float sum[kC];    // G_i log2(e)
  float decay[kC];  // e^{G_i}
  float out[kC];    // scale e^{G_i}
  float rest[kC];   // e^{G_last-G_i}, zero for rows that stay open
  float beta[kC];
};

// What both take from GdnPrefillArgs; strides in elements.
struct Call {
  const float *log_g, *beta;
  int64_t log_g_stride, beta_stride;
  const __nv_bfloat16* k_rows;
  int64_t k_row_stride, k_head_stride;
  __nv_bfloat16* o;
  int64_t o_row_stride, o_head_stride;
  void* s;  // fp32, or bf16 if `bf16_state`
  float *open_k, *open_u, *open_g;
  int64_t s_pitch, k_pitch, u_pitch, g_pitch;  // elements from slot to slot
  float* checkpoints;
  int64_t checkpoint_pitch;
  const int32_t* checkpoint_cu;
  int32_t checkpoint_chunks;  // from one to the next; 0: none
  const int32_t *cu_seqlens, *start, *slots, *has_state;
  int32_t B, HK, HV, slot_count;
  int32_t capacity;  // rows of the open chunk, R
  int32_t bf16_state;
  float scale;
};

// `k`: a.k, or the keys divided by their norms.
inline void set_call(Call& p, const GdnPrefillArgs& a, const Tensor& k) {
  p.B = int32_t(a.slots.dim(0)), p.HK = int32_t(a.k.dim(1)), p.HV = int32_t(a.v.dim(1));
  p.capacity = int32_t(a.state.k.dim(3)), p.scale = a.scale;
  p.log_g = a.log_g.as<float>(), p.log_g_stride = a.log_g.stride[0], p.beta = a.beta.as<float>(), p.beta_stride = a.beta.stride[0];
  p.k_rows = static_cast<const __nv_bfloat16*>(k.data), p.k_row_stride = k.stride[0], p.k_head_stride = k.stride[1];
  p.o = static_cast<__nv_bfloat16*>(a.o.data), p.o_row_stride = a.o.stride[0], p.o_head_stride = a.o.stride[1];
  p.s = a.state.s.data, p.bf16_state = a.state.s.dtype == DType::kBF16, p.s_pitch = a.state.s.stride[0];
  p.slot_count = int32_t(a.state.s.dim(0)), p.open_k = a.state.k.as<float>(), p.k_pitch = a.state.k.stride[0];
  p.open_u = a.state.u.as<float>(), p.u_pitch = a.state.u.stride[0], p.open_g = a.state.g.as<float>(),
  p.g_pitch = a.state.g.stride[0];
  p.cu_seqlens = a.cu_seqlens.as<int32_t>(), p.start = a.start.as<int32_t>(), p.slots = a.slots.as<int32_t>();
  if (a.has_state.present()) p.has_state = a.has_state.as<int32_t>();
  if (a.checkpoint_every == 0) return;
  p.checkpoints = a.checkpoints.as<float>(), p.checkpoint_pitch = a.checkpoints.stride[0];
  p.checkpoint_cu = a.checkpoint_cu.as<int32_t>(), p.checkpoint_chunks = int32_t(a.checkpoint_every / kC);
}

// A unit's slice of the pool.
struct Pool {
  int64_t s;
  float *k, *u, *g;
  template <class Unit>
  __device__ Pool(const Call& p, const Unit& u)
      : s(u.slot * p.s_pitch + int64_t(u.head) * kDim * kDim),
        k(p.open_k + u.slot * p.k_pitch + int64_t(u.head / (p.HV / p.HK)) * p.capacity * kDim),
        u(p.open_u + u.slot * p.u_pitch + int64_t(u.head) * p.capacity * kDim),
        g(p.open_g + u.slot * p.g_pitch + int64_t(u.head) * p.capacity) {}
};

// Whether the unit's chunk c ends at a checkpoint.
template <class Unit>
__device__ inline bool at_checkpoint(const Call& p, const Unit& u, int c) {
  return p.checkpoint_chunks && c < u.whole && (u.position + c + 1) % p.checkpoint_chunks == 0;
}

// One arrival of a warp, after all of its lanes.
__device__ inline void warp_arrive(uint64_t* bar) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(bar);
}

// What follows a chunk's last row belongs to another sequence, or to nobody, and might not be finite.
__device__ inline void clear_tail(uint8_t* tile, int rows) {
  for (int i = rows * kRowBytes / 16 + threadIdx.x % 32; i < kTile / 16; i += 32) reinterpret_cast<uint4*>(tile)[i] = uint4{};
}

// log_g and beta of rows 2l and 2l + 1 of a chunk, lane l; past its end 0. Nothing is computed from them here, so that the loads
// are waited for where their values are used.
struct GateInputs {
  float log_g[2], beta[2];
  __device__ GateInputs(const Call& p, int head, int row, int rows) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int i = threadIdx.x % 32 * 2 + e;
      log_g[e] = i < rows ? p.log_g[(row + i) * p.log_g_stride + head] : 0.0f;
      beta[e] = i < rows ? p.beta[(row + i) * p.beta_stride + head] : 0.0f;
    }
  }
};

// Of a chunk, of whose rows `closed` are folded into the state. Gates: RowFactors and `whole`.
template <class Gates>
__device__ inline void make_gates(const GateInputs& in, float scale, int closed, Gates& to) {
  const int lane = threadIdx.x % 32, i = 2 * lane;
  const float g[2] = {kLog2E * in.log_g[0], kLog2E * in.log_g[1]};
  float sum = g[0] + g[1];
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const float below = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += below;
  }
  const float before = __shfl_up_sync(0xffffffffu, sum, 1);
  const float first = (lane ? before : 0.0f) + g[0];
  const int last = max(closed - 1, 0);
  const float odd = __shfl_sync(0xffffffffu, sum, last / 2), even = __shfl_sync(0xffffffffu, first, last / 2);
  const float whole = closed == 0 ? 0.0f : last % 2 ? odd : even;
  const float2 decay = {ptx::exp2_approx(first), ptx::exp2_approx(sum)};
  const auto store = [&](float* x, float2 y) { *reinterpret_cast<float2*>(x + i) = y; };
  store(to.sum, {first, sum}), store(to.beta, {in.beta[0], in.beta[1]});
  store(to.decay, decay), store(to.out, {scale * decay.x, scale * decay.y});
  store(to.rest, {i < closed ? ptx::exp2_approx(whole - first) : 0.0f, i + 1 < closed ? ptx::exp2_approx(whole - sum) : 0.0f});
  if (lane == 0) to.whole = ptx::exp2_approx(whole);
}

}  // namespace sluice::gdn_tuned
