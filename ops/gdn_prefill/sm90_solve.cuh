// gdn_prefill on compute capability 9.0: T = (I + L)^-1 diag(beta), P T and the gates of every chunk; no state is needed.
#pragma once

#include "ops/gdn_prefill/sm90.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kSolveBlocks = 4;   // a multiprocessor; one block's waits are another's work
inline constexpr int kMaxHeads = 4;      // value heads of one key head that a block takes
inline constexpr int kLowerPitch = 144;  // bytes of a row of 64 fp16: eight rows fall on different banks

struct SolveShared {
  union {
    KeysQueries kq;
    uint8_t tiles[2][2 * kTile];  // T and P T of two heads, once K and Q are used up
  };
  uint8_t lower[kC * kLowerPitch];          // L, fp16
  uint8_t inverse[4][16 * kFragmentPitch];  // transposed inverses of the diagonal blocks, fp16
  Gates gates[kMaxHeads];
  float beta[kMaxHeads][kC];
  uint64_t full;
};

// This lane's place in a 16x8 fragment: rows `row` and `row` + 8, columns `column` and `column` + 1.
struct Place {
  int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
};

// Gates of one head by one warp: lane l has rows 2l and 2l + 1. `closed` rows are folded into the state.
__device__ inline void make_gates(const Params& p, Gates& to, float* to_beta, int head, int row, int rows, int closed) {
  const int lane = threadIdx.x % 32, i = 2 * lane;
  float g[2], beta[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    g[e] = i + e < rows ? kLog2E * p.log_g[(row + i + e) * p.log_g_stride + head] : 0.0f;
    beta[e] = i + e < rows ? p.beta[(row + i + e) * p.beta_stride + head] : 0.0f;
  }
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
  store(to.sum, {first, sum}), store(to_beta, {beta[0], beta[1]});
  store(to.decay, decay), store(to.out, {p.scale * decay.x, p.scale * decay.y});
  store(to.rest, {i < closed ? ptx::exp2_approx(whole - first) : 0.0f, i + 1 < closed ? ptx::exp2_approx(whole - sum) : 0.0f});
  if (lane == 0) to.whole = ptx::exp2_approx(whole);
}

// K K^T and Q K^T of one chunk. Two sums alternate: one alone would wait for its own last step.
__device__ inline void multiply_keys(float (&kk)[32], float (&qk)[32], uint64_t k) {
  constexpr auto kRows = ptx::Major::kSummed;
  ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
    const uint64_t at = ptx::wgmma_advance(k, s / 4 * 2 * kTile + s % 4 * 32);
    ptx::wgmma_m64n64k16_bf16<kRows, kRows>(kk, at, at, s > 0);
    ptx::wgmma_m64n64k16_bf16<kRows, kRows>(qk, ptx::wgmma_advance(at, kTile), at, s > 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin(kk), ptx::pin(qk);
}

__device__ inline uint32_t multiply_fp16(uint32_t a, uint32_t b) {
  const __half2 r = __hmul2(*reinterpret_cast<__half2*>(&a), *reinterpret_cast<__half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&r);
}

// D_ij = e^{G_i-G_j} for i >= j, otherwise 0, as fp16 fragments.
__device__ inline void make_decays(const Gates& gates, const Place& at, uint32_t (&decay)[4][4]) {
  const int i = 16 * at.warp + at.row;
  const float sum[2] = {gates.sum[i], gates.sum[i + 8]};
#pragma unroll
  for (int block = 0; block < 8; ++block) {
    uint32_t* to = &decay[block / 2][block % 2 * 2];
    to[0] = to[1] = 0;
    if (block > 2 * at.warp + 1) continue;
    const float2 sum_j = *reinterpret_cast<const float2*>(&gates.sum[8 * block + at.column]);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      to[half] = ptx::pack_fp16(ptx::exp2_approx(sum[half] - sum_j.x), ptx::exp2_approx(sum[half] - sum_j.y));
    if (block / 2 != at.warp) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // by selection: above the diagonal the exponent may overflow
      const int below = at.row + 8 * half - 8 * (block % 2) - at.column;
      to[half] &= below > 0 ? 0xffffffffu : below == 0 ? 0xffffu : 0u;
    }
  }
}

// A Gram matrix as fp16 fragments.
__device__ inline void pack_gram(const float (&d)[32], float scale, uint32_t (&to)[4][4]) {
#pragma unroll
  for (int s = 0; s < 4; ++s)
#pragma unroll
    for (int e = 0; e < 4; ++e) to[s][e] = ptx::pack_fp16(scale * d[8 * s + 2 * e], scale * d[8 * s + 2 * e + 1]);
}

// L to shared memory; what lies on or above the diagonal is not read.
__device__ inline void store_lower(SolveShared& sm, const float* betas, const Place& at, const uint32_t (&kk)[4][4],
                                   const uint32_t (&decay)[4][4]) {
  const int i = 16 * at.warp + at.row;
  const uint32_t beta[2] = {ptx::pack_fp16(betas[i], betas[i]), ptx::pack_fp16(betas[i + 8], betas[i + 8])};
#pragma unroll
  for (int block = 0; block < 8; ++block) {
    if (block > 2 * at.warp + 1) break;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int e = block % 2 * 2 + half;
      *reinterpret_cast<uint32_t*>(&sm.lower[(i + 8 * half) * kLowerPitch + 16 * block + 2 * at.column]) =
          multiply_fp16(multiply_fp16(kk[block / 2][e], decay[block / 2][e]), beta[half]);
    }
  }
}

// The inverse of the warp's 16x16 diagonal block, transposed. First its two 8x8 blocks by forward substitution in fp32: lane c of 8
// has column c of the inverse and writes it as a row; lanes 16 on repeat lanes 0 on. Then the corner, -B^-1 C A^-1.
__device__ inline void invert_diagonal(SolveShared& sm, const Place& at) {
  const uint8_t* lower = sm.lower + 16 * at.warp * (kLowerPitch + 2);
  uint8_t* inverse = sm.inverse[at.warp];
  const int half = at.lane / 8 % 2, c = at.lane % 8;
  uint4 rows[8];
  float x[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i) rows[i] = *reinterpret_cast<const uint4*>(lower + (8 * half + i) * kLowerPitch + 16 * half);
    x[i] = i == c ? 1.0f : 0.0f;
  }
#pragma unroll
  for (int j = 0; j < 7; ++j)
#pragma unroll
    for (int i = j + 1; i < 8; ++i) {
      const __half2 l = reinterpret_cast<const __half2*>(&rows[i])[j / 2];
      x[i] -= (j % 2 ? __high2float(l) : __low2float(l)) * x[j];
    }
  *reinterpret_cast<uint4*>(inverse + (8 * half + c) * kFragmentPitch + 16 * half) = {
      ptx::pack_fp16(x[0], x[1]), ptx::pack_fp16(x[2], x[3]), ptx::pack_fp16(x[4], x[5]), ptx::pack_fp16(x[6], x[7])};
  __syncwarp();

  const auto pair = [&](const uint8_t* tile, int pitch) {
    return *reinterpret_cast<const uint32_t*>(tile + at.row * pitch + 2 * at.column);
  };
  uint32_t a[4] = {pair(inverse, kFragmentPitch)}, b[4];
  float d[4] = {}, corner[4] = {};
  ptx::mma_m16n8k16_fp16(d, a, pair(lower + 8 * kLowerPitch, kLowerPitch), 0);
  a[0] = ptx::pack_fp16(-d[0], -d[1]);
  ptx::ldmatrix_x4_trans(b, ptx::shared_address(inverse) + (8 + c) * kFragmentPitch + 16);
  ptx::mma_m16n8k16_fp16(corner, a, b[0], 0);
  *reinterpret_cast<uint32_t*>(inverse + at.row * kFragmentPitch + 16 + 2 * at.column) = ptx::pack_fp16(corner[0], corner[1]);
}

// Stores block (i, j) of T from fragments of its transpose, row 16i on.
__device__ inline void store_block(uint32_t tile, const Place& at, int i, int j, const uint32_t (&t)[4]) {
  const int row = 16 * i + at.lane / 16 * 8 + at.lane % 8, unit = (2 * j + at.lane / 8 % 2) ^ (row % 8);
  ptx::stmatrix_x4_trans(tile + row * kRowBytes + unit * 16, t[0], t[1], t[2], t[3]);
}

// Column block w of T by block substitution, warp w: T_ij = -T_ii sum_{j<=k<i} L_ik T_kj, kept transposed so that results are
// operands; column j of T times beta_j to shared memory. Sums of all later rows advance with each T_kj.
__device__ inline void substitute(SolveShared& sm, const float* betas, const Place& at, uint32_t tile) {
  const int w = at.warp, matrix = at.lane / 8, r = at.lane % 8;
  const float beta[2] = {betas[16 * w + at.row], betas[16 * w + at.row + 8]};
  const uint32_t lower = ptx::shared_address(sm.lower) + 32 * w + (matrix / 2 * 8 + r) * kLowerPitch + matrix % 2 * 16;
  const uint32_t inverse = ptx::shared_address(sm.inverse) + (matrix % 2 * 8 + r) * kFragmentPitch + matrix / 2 * 16;
  uint32_t t[4], l[4], scaled[4];
  float x[3][2][4] = {};
  ptx::ldmatrix_x4(t, inverse + w * 16 * kFragmentPitch);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float2 y = __half22float2(*reinterpret_cast<const __half2*>(&t[e]));
    scaled[e] = ptx::pack_fp16(beta[e % 2] * y.x, beta[e % 2] * y.y);
  }
  store_block(tile, at, w, w, scaled);
#pragma unroll
  for (int s = 1; s < 4; ++s) {
    if (w + s >= 4) break;
#pragma unroll
    for (int ahead = s; ahead < 4; ++ahead) {
      if (w + ahead >= 4) break;
      ptx::ldmatrix_x4(l, lower + 16 * (w + ahead) * kLowerPitch + 32 * (s - 1));
      ptx::mma_m16n8k16_fp16(x[ahead - 1][0], t, l[0], l[1]);
      ptx::mma_m16n8k16_fp16(x[ahead - 1][1], t, l[2], l[3]);
    }
    float y[2][4] = {};
    const auto& sum = x[s - 1];
    ptx::ldmatrix_x4_trans(l, inverse + (w + s) * 16 * kFragmentPitch);
#pragma unroll
    for (int h = 0; h < 2; ++h)
      t[2 * h] = ptx::pack_fp16(-sum[h][0], -sum[h][1]), t[2 * h + 1] = ptx::pack_fp16(-sum[h][2], -sum[h][3]);
    ptx::mma_m16n8k16_fp16(y[0], t, l[0], l[1]);
    ptx::mma_m16n8k16_fp16(y[1], t, l[2], l[3]);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float lo = y[e / 2][e % 2 * 2], hi = y[e / 2][e % 2 * 2 + 1];
      t[e] = ptx::pack_fp16(lo, hi), scaled[e] = ptx::pack_fp16(beta[e % 2] * lo, beta[e % 2] * hi);
    }
    store_block(tile, at, w + s, w, scaled);
  }
}

// P T to the tile after T.
__device__ inline void multiply_by_p(uint32_t tile, const Place& at, const uint32_t (&p)[4][4]) {
  float d[32];
  const uint64_t t = ptx::wgmma_operand(tile, 0, 1024);
  ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < 4; ++s)
    ptx::wgmma_m64n64k16_fp16<ptx::Major::kOther>(d, p[s], ptx::wgmma_advance(t, s * 16 * kRowBytes), s > 0);
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin(d);
  const int row = 16 * at.warp + at.lane / 8 % 2 * 8 + at.lane % 8;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int unit = (2 * s + at.lane / 16) ^ (row % 8);
    uint32_t x[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = ptx::pack_fp16(d[8 * s + 2 * e], d[8 * s + 2 * e + 1]);
    ptx::stmatrix_x4(tile + kTile + row * kRowBytes + unit * 16, x[0], x[1], x[2], x[3]);
  }
}

// One head of a chunk: T and P T to a tile that holds zeros above T's diagonal blocks.
__device__ inline void solve_head(SolveShared& sm, const Place& at, uint32_t tile, const Gates& gates, const float* beta,
                                  const uint32_t (&kk)[4][4], const uint32_t (&qk)[4][4]) {
  uint32_t decay[4][4];
  make_decays(gates, at, decay);
  store_lower(sm, beta, at, kk, decay);
#pragma unroll
  for (int s = 0; s < 4; ++s)
#pragma unroll
    for (int e = 0; e < 4; ++e) decay[s][e] = multiply_fp16(qk[s][e], decay[s][e]);  // from here on P
  __syncwarp();
  invert_diagonal(sm, at);
  __syncthreads();
  substitute(sm, beta, at, tile);
  ptx::fence_proxy_async();
  __syncthreads();
  multiply_by_p(tile, at, decay);
  ptx::fence_proxy_async();
  __syncthreads();
}

// Block (n, y): value heads [y * heads, (y + 1) * heads) of chunk n; they share one key head.
__global__ void __launch_bounds__(kGroup, kSolveBlocks) gdn_prefill_sm90_solve(const __grid_constant__ Params p, int heads) {
  extern __shared__ __align__(1024) uint8_t memory[];
  SolveShared& sm = *reinterpret_cast<SolveShared*>(memory);
  const Place at;
  const int n = blockIdx.x, head = blockIdx.y * heads;
  if (threadIdx.x == 0) ptx::mbarrier_init(&sm.full, 1), ptx::fence_barrier_init();
  // The inverses are triangular: their other quarters stay zero.
  for (int i = threadIdx.x; i < int(sizeof(sm.inverse) / 16); i += kGroup) reinterpret_cast<uint4*>(sm.inverse)[i] = uint4{};
  cuda::wait_for_previous_kernel();
  cuda::let_next_kernel_start();
  const ChunkRows chunk = p.chunk_rows[n];
  if (!chunk.solve) return;
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::mbarrier_arrive_expect(&sm.full, sizeof(KeysQueries));
    load_keys_queries(p, sm.kq, head / (p.HV / p.HK), chunk.row, &sm.full);
  }
  if (at.warp < heads) make_gates(p, sm.gates[at.warp], sm.beta[at.warp], head + at.warp, chunk.row, chunk.rows, chunk.closed);
  ptx::mbarrier_wait(&sm.full, 0);
  if (chunk.rows < kC) {
    clear_tail<kGroup>(sm.kq.k0, chunk.rows), clear_tail<kGroup>(sm.kq.k1, chunk.rows);
    ptx::fence_proxy_async();
    __syncthreads();
  }
  uint32_t kk[4][4], qk[4][4];
  {
    float kk32[32], qk32[32];
    multiply_keys(kk32, qk32, ptx::wgmma_operand(ptx::shared_address(sm.kq.k0), 0, 1024));
    pack_gram(kk32, 1.0f, kk), pack_gram(qk32, p.scale, qk);
  }
  __syncthreads();
  for (auto& tile : sm.tiles)
    for (int i = threadIdx.x; i < kTile / 16; i += kGroup) reinterpret_cast<uint4*>(tile)[i] = uint4{};
  for (int h = 0; h < heads; ++h) {
    Solved* to = p.solved + int64_t(n) * p.HV + head + h;
    uint8_t* tile = sm.tiles[h % 2];
    if (threadIdx.x == 0) ptx::bulk_wait_read<1>();
    __syncthreads();
    solve_head(sm, at, ptx::shared_address(tile), sm.gates[h], sm.beta[h], kk, qk);
    if (threadIdx.x == 0) ptx::bulk_store(to, tile, 2 * kTile), ptx::bulk_commit();
    if (threadIdx.x < sizeof(Gates) / 16)
      reinterpret_cast<uint4*>(&to->gates)[threadIdx.x] = reinterpret_cast<const uint4*>(&sm.gates[h])[threadIdx.x];
  }
  if (threadIdx.x == 0) ptx::bulk_wait<0>();
}

}  // namespace sluice::gdn_sm90
