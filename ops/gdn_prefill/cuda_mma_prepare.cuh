// The first kernel: T', P T' and the gates of a piece and value head. Four warps, each with 16 rows.
#pragma once

#include "ops/gdn_prefill/cuda_mma.cuh"

namespace sluice::gdn::gpu::mma {

// fp16 matrices of the inversion; the pitch keeps eight rows in different banks.
inline constexpr int kPitch = kRows + 8, kSquarePitch = 32 + 8;

template <int K>
struct PrepareMemory {
  char k[kRows * K * 2], q[kRows * K * 2];
  __half l[kRows * kPitch], t[kRows * kPitch], z[32 * kSquarePitch];
  float diagonal[kWarps][16][17];                             // L's 16x16 blocks on the diagonal
  float g[kRows], beta[kRows], k_norm[kRows], q_norm[kRows];  // the norms' reciprocals
};

// G, a scan over 64 rows by one warp, two rows a lane; rows behind the last decay by nothing and write nothing.
template <class Memory>
__device__ void scan_gates(const Call& c, const Piece& p, int head, Memory& w) {
  const int lane = threadIdx.x;
  float g[2] = {};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 2 * lane + i;
    if (row < p.count) g[i] = c.log_g[(p.t + row) * c.log_g_stride + head];
    w.beta[row] = row < p.count ? c.beta[(p.t + row) * c.beta_stride + head] : 0;
  }
  float sum = g[0] + g[1];
#pragma unroll
  for (int d = 1; d < kWarp; d *= 2) {
    const float before = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += before;
  }
  w.g[2 * lane + 1] = sum, w.g[2 * lane] = sum - g[1];
}

// 1 / |x| of every row of a tile, two threads a row.
template <int K>
__device__ void invert_norms(const char* tile, bool l2norm, float eps, float* norm) {
  const int row = threadIdx.x / 2, half = threadIdx.x % 2;
  float sum = 0;
#pragma unroll
  for (int chunk = half; chunk < K / 8; chunk += 2) {
    const uint4 x = *reinterpret_cast<const uint4*>(tile + TileAddress<2 * K>::offset(row, chunk));
    for (const uint32_t pair : {x.x, x.y, x.z, x.w}) {
      const float low = __uint_as_float(pair << 16), high = __uint_as_float(pair & 0xffff0000u);
      sum = fmaf(low, low, fmaf(high, high, sum));
    }
  }
  sum = cuda::group_sum<2>(sum);
  if (half == 0) norm[row] = l2norm ? rsqrtf(sum + eps) : 1;
}

// The warp's rows of k k^T and q k^T up to the diagonal block, with decay: L into shared memory, P as first operand of a product.
template <int K>
__device__ void gram(const Call& c, PrepareMemory<K>& w, uint32_t (&attend)[kRows / 16][4]) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const TileAddress<2 * K> k(w.k), q(w.q);
  float kk[kRows / 8][4] = {}, qk[kRows / 8][4] = {};
#pragma unroll
  for (int ks = 0; ks < K / 16; ++ks) {
    uint32_t left_k[4], left_q[4];
    k.load_left(left_k, 16 * warp, 2 * ks), q.load_left(left_q, 16 * warp, 2 * ks);
#pragma unroll
    for (int n = 0; n < kRows / 16; ++n) {
      if (n > warp) continue;
      uint32_t right[4];
      k.load(right, 16 * n, 2 * ks);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        ptx::mma_m16n8k16_bf16(kk[2 * n + i], left_k, right[2 * i], right[2 * i + 1]);
        ptx::mma_m16n8k16_bf16(qk[2 * n + i], left_q, right[2 * i], right[2 * i + 1]);
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kRows / 8; ++n) {
    if (n > 2 * warp + 1) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = 16 * warp + lane / 4 + 8 * half, first = 8 * n + lane % 4 * 2;
      float l[2], p[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int j = first + e;
        const float decay = expf(fminf(w.g[i] - w.g[j], 0)) * w.k_norm[j];
        l[e] = j < i ? w.beta[i] * w.k_norm[i] * decay * kk[n][2 * half + e] : 0;
        p[e] = j <= i ? c.scale * w.q_norm[i] * decay * qk[n][2 * half + e] : 0;
        if (n / 2 == warp) w.diagonal[warp][i % 16][j % 16] = l[e];
      }
      *reinterpret_cast<uint32_t*>(w.l + i * kPitch + first) = ptx::pack_fp16(l[0], l[1]);
      attend[n / 2][n % 2 * 2 + half] = ptx::pack_fp16(p[0], p[1]);
    }
  }
}

// The inverse of the warp's 16x16 block of I + L by forward substitution in fp32, a column a lane.
template <int K>
__device__ void invert_diagonal(PrepareMemory<K>& w) {
  const int warp = threadIdx.x / kWarp, column = threadIdx.x % kWarp;
  if (column >= 16) return;
  float x[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    x[i] = i == column;
#pragma unroll
    for (int j = 0; j < i; ++j) x[i] = fmaf(-w.diagonal[warp][i][j], x[j], x[i]);
    w.t[(16 * warp + i) * kPitch + 16 * warp + column] = __float2half(x[i]);
  }
}

// to = sign * a b for one 16x16 square, summed over 16 Steps, by a warp. Pitches in elements.
template <int Steps>
__device__ void multiply_square(const __half* a, int a_pitch, const __half* b, int b_pitch, float sign, __half* to, int to_pitch) {
  const int lane = threadIdx.x % kWarp, row = lane % 16, column = lane / 16 * 8;
  float d[2][4] = {};
#pragma unroll
  for (int s = 0; s < Steps; ++s) {
    uint32_t left[4], right[4];
    ptx::ldmatrix_x4(left, ptx::shared_address(a + row * a_pitch + 16 * s + column));
    ptx::ldmatrix_x4_trans(right, ptx::shared_address(b + (16 * s + row) * b_pitch + column));
    ptx::mma_m16n8k16_fp16(d[0], left, right[0], right[1]);
    ptx::mma_m16n8k16_fp16(d[1], left, right[2], right[3]);
  }
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<uint32_t*>(to + (lane / 4 + 8 * half) * to_pitch + 8 * n + lane % 4 * 2) =
          ptx::pack_fp16(sign * d[n][2 * half], sign * d[n][2 * half + 1]);
}

// The blocks below the diagonal, T21 = -T22 L21 T11, of two 32x32 blocks and then of the whole.
template <int K>
__device__ void merge_blocks(PrepareMemory<K>& w) {
  const int warp = threadIdx.x / kWarp;
  if (warp < 2) {
    const int begin = 32 * warp * (kPitch + 1), below = begin + 16 * kPitch;
    __half* z = w.z + 16 * warp * kSquarePitch;
    multiply_square<1>(w.l + below, kPitch, w.t + begin, kPitch, 1, z, kSquarePitch);
    __syncwarp();
    multiply_square<1>(w.t + below + 16, kPitch, z, kSquarePitch, -1, w.t + below, kPitch);
  }
  __syncthreads();
  const int row = warp / 2 * 16, column = warp % 2 * 16;
  multiply_square<2>(w.l + (32 + row) * kPitch, kPitch, w.t + column, kPitch, 1, w.z + row * kSquarePitch + column, kSquarePitch);
  __syncthreads();
  multiply_square<2>(w.t + (32 + row) * kPitch + 32, kPitch, w.z + column, kSquarePitch, -1, w.t + (32 + row) * kPitch + column,
                     kPitch);
}

// The warp's rows of P T', into the workspace, with the zeros right of the diagonal blocks.
template <int K>
__device__ void store_attend(const PrepareMemory<K>& w, const uint32_t (&attend)[kRows / 16][4], Factors& f) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
#pragma unroll
  for (int n = 0; n < kRows / 16; ++n) {
    float d[2][4] = {};
#pragma unroll
    for (int step = n; step < kRows / 16; ++step) {
      if (step > warp) continue;
      uint32_t right[4];
      ptx::ldmatrix_x4_trans(right, ptx::shared_address(w.t + (16 * step + lane % 16) * kPitch + 16 * n + lane / 16 * 8));
      ptx::mma_m16n8k16_fp16(d[0], attend[step], right[0], right[1]);
      ptx::mma_m16n8k16_fp16(d[1], attend[step], right[2], right[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 16 * warp + lane / 4 + i / 2 * 8, column = 16 * n + i % 2 * 8 + lane % 4 * 2;
      const float* x = d[i % 2] + i / 2 * 2;
      *reinterpret_cast<uint32_t*>(f.attend + row * kRows + column) =
          ptx::pack_fp16(x[0] * w.beta[column], x[1] * w.beta[column + 1]);
    }
  }
}

template <int K>
__device__ void store_solve(const Call& c, const PrepareMemory<K>& w, Factors& f) {
  for (int i = threadIdx.x; i < kRows * kRows / 2; i += kThreads) {
    const int row = i / (kRows / 2), column = i % (kRows / 2) * 2;
    const float2 x = __half22float2(*reinterpret_cast<const __half2*>(w.t + row * kPitch + column));
    *reinterpret_cast<uint32_t*>(f.solve + 2 * i) = ptx::pack_fp16(x.x * w.beta[column], x.y * w.beta[column + 1]);
  }
  const float last = w.g[kRows - 1];
  if (const int i = threadIdx.x; i < kRows) {
    const float decay = expf(w.g[i]);
    f.known[i] = decay * w.k_norm[i], f.seen[i] = c.scale * decay * w.q_norm[i];
    f.closing[i] = expf(fminf(last - w.g[i], 0)) * w.k_norm[i];
    if (i == 0) f.decay = expf(last);
  }
}

// The sequence whose piece has this number, or B.
__device__ inline int find_sequence(const int32_t* cu_seqlens, int B, int64_t number) {
  int low = 0, high = B;  // the last sequence whose first piece is not behind the number is in [low, high)
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (cu_seqlens[middle] / kRows + Cut::kMostExtra * middle <= number ? low : high) = middle;
  }
  return low;
}

template <int K>
__global__ void __launch_bounds__(kThreads) prepare_kernel(const __grid_constant__ Call c, Factors* factors, int B) {
  extern __shared__ __align__(16) char memory[];
  cuda::wait_for_previous_kernel();
  PrepareMemory<K>& w = *reinterpret_cast<PrepareMemory<K>*>(memory);
  const int head = blockIdx.x, key_head = head / (c.pool.HV / c.pool.HK), number = blockIdx.y;
  const int b = find_sequence(c.sequences.cu_seqlens, B, number);
  const Extent x(c, b);
  const Cut cut(x, b, c.pool.R);
  if (x.padding || number < cut.first || number >= cut.first + cut.pieces) return;
  const Piece p = cut.piece(number - cut.first);
  Factors& f = factors[int64_t(number) * c.pool.HV + head];

  copy_rows<2 * K>(w.k, row_of(c.k, p.t, key_head), 2 * c.k.row_stride, p.count);
  copy_rows<2 * K>(w.q, row_of(c.q, p.t, key_head), 2 * c.q.row_stride, p.count);
  __pipeline_commit();
  for (int i = threadIdx.x; i < kRows * kPitch / 2; i += kThreads) reinterpret_cast<uint32_t*>(w.t)[i] = 0;
  if (threadIdx.x < kWarp) scan_gates(c, p, head, w);
  __pipeline_wait_prior(0);
  __syncthreads();
  invert_norms<K>(w.k, c.qk_l2norm, c.l2_eps, w.k_norm);
  invert_norms<K>(w.q, c.qk_l2norm, c.l2_eps, w.q_norm);
  __syncthreads();
  uint32_t attend[kRows / 16][4] = {};
  gram(c, w, attend);
  __syncwarp();
  invert_diagonal(w);
  __syncthreads();
  merge_blocks(w);
  __syncthreads();
  store_attend(w, attend, f);
  store_solve(c, w, f);
}

}  // namespace sluice::gdn::gpu::mma
