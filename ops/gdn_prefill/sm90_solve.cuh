// gdn_prefill on compute capability 9.0: T = (I + L)^-1 diag(beta) and P T of a chunk; no state is needed.
//
// In blocks of 16 rows, by substitution: T_ii = (I + L_ii)^-1, a warp each; then T_10 = -T_11 L_10 T_00 and T_32 alike; then T_rc =
// -sum_i T_ri (sum_k L_ik T_kc) for r of 2 and 3, c of 0 and 1. Products are of fp16 with fp32 sums, and kept transposed: one's
// result is the next one's operand.
#pragma once

#include "ops/gdn_prefill/sm90.cuh"

namespace sluice::gdn_sm90 {

// A lane's place in a 16x8 fragment: rows `row` and `row` + 8, columns `column` and `column` + 1.
struct Place {
  int warp = uniform(threadIdx.x / 32 % 4), lane, row = lane / 4, column = lane % 4 * 2;
  __device__ explicit Place(int lane) : lane(lane) {}
};

// Where 16 bytes of a swizzled tile lie.
__device__ inline uint32_t swizzled(int row, int unit) { return row * kRowBytes + ((unit ^ row) % 8) * 16; }

__device__ inline uint32_t multiply_fp16(uint32_t a, uint32_t b) {
  const __half2 r = __hmul2(*reinterpret_cast<__half2*>(&a), *reinterpret_cast<__half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&r);
}

// A Gram matrix as fp16 fragments: pairs of columns of 8x8 blocks, two a block.
__device__ inline void pack_gram(const float (&d)[32], uint32_t (&to)[16]) {
#pragma unroll
  for (int e = 0; e < 16; ++e) to[e] = ptx::pack_fp16(d[2 * e], d[2 * e + 1]);
}

// K K^T, and Q K^T where outputs are wanted, as fp16 fragments.
template <bool Outputs>
__device__ inline void multiply_rows(uint32_t (&kk16)[16], uint32_t (&qk16)[16], uint64_t k) {
  float kk[32], qk[32];
  constexpr auto kRows = ptx::Major::kSummed;
  ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
    const uint64_t at = ptx::wgmma_advance(k, s / 4 * 2 * kTile + s % 4 * 32);
    ptx::wgmma_m64n64k16_bf16<kRows, kRows>(kk, at, at, s > 0);
    if constexpr (Outputs) ptx::wgmma_m64n64k16_bf16<kRows, kRows>(qk, ptx::wgmma_advance(at, kTile), at, s > 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin(kk), ptx::pin(qk);
  pack_gram(kk, kk16);
  if constexpr (Outputs) pack_gram(qk, qk16);
}

// L left of the diagonal blocks to its tile and that of the diagonal block to where its inverse will be, and P as fp16 fragments,
// by warp W.
template <bool Outputs, int W>
__device__ inline void apply_decays(const Gates& gates, const Place& at, const uint32_t (&kk)[16], const uint32_t (&qk)[16],
                                    float scale, uint8_t* lower, Inverses& inverses, uint32_t (&p)[4][4]) {
  const auto pair = [](const __half* x) { return *reinterpret_cast<const uint32_t*>(x); };
  const int i = 16 * W + at.row;
  const uint32_t row_l[2] = {pair(gates.row_l[i]), pair(gates.row_l[i + 8])};
  const uint32_t row_p[2] = {pair(gates.row_p[i]), pair(gates.row_p[i + 8])};
  const uint32_t row_d[2] = {pair(gates.row_d[i]), pair(gates.row_d[i + 8])}, scales = ptx::pack_fp16(scale, scale);
#pragma unroll
  for (int block = 0; block < 6; ++block) {
    if (block >= 2 * W) break;
    const uint32_t column = pair(&gates.column[W ? W - 1 : 0][8 * block + at.column]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int e = 2 * block + half;
      *reinterpret_cast<uint32_t*>(lower + swizzled(i + 8 * half, block) + 2 * at.column) =
          multiply_fp16(multiply_fp16(kk[e], column), row_l[half]);
      if constexpr (Outputs) p[block / 2][block % 2 * 2 + half] = multiply_fp16(multiply_fp16(qk[e], column), row_p[half]);
    }
  }
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int e = 4 * W + 2 * n + half;
      const uint32_t decay = pair(&gates.diagonal[W][at.row + 8 * half][8 * n + at.column]);
      *reinterpret_cast<uint32_t*>(inverses.data + Inverses::place(W, at.row + 8 * half, n) + 2 * at.column) =
          multiply_fp16(multiply_fp16(kk[e], decay), row_d[half]);
      if constexpr (Outputs) p[W][2 * n + half] = multiply_fp16(multiply_fp16(qk[e], decay), scales);
    }
#pragma unroll
  for (int s = 0; s < 4; ++s)
    if (s > W) p[s][0] = p[s][1] = p[s][2] = p[s][3] = 0;
}

// The inverse of the warp's diagonal block, transposed, in its place. First the two 8x8 blocks by forward substitution in fp32:
// lane c of 8 has column c of the inverse and writes it as a row; lanes 16 on repeat lanes 0 on. Then the corner, -B^-1 C A^-1.
__device__ inline void invert_diagonal(Inverses& inverses, const Place& at) {
  const int half = at.lane / 8 % 2, c = at.lane % 8;
  const auto place = [&](int row, int h) { return inverses.data + Inverses::place(at.warp, row, h); };
  const auto pair = [&](int row, int h) { return *reinterpret_cast<uint32_t*>(place(row, h) + 2 * at.column); };
  uint4 rows[8];
  float x[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i) rows[i] = *reinterpret_cast<const uint4*>(place(8 * half + i, half));
    x[i] = i == c ? 1.0f : 0.0f;
  }
  const uint32_t lower_corner = pair(8 + at.row, 0);
#pragma unroll
  for (int j = 0; j < 7; ++j)
#pragma unroll
    for (int i = j + 1; i < 8; ++i) {
      const __half2 l = reinterpret_cast<const __half2*>(&rows[i])[j / 2];
      x[i] -= (j % 2 ? __high2float(l) : __low2float(l)) * x[j];
    }
  __syncwarp();
  *reinterpret_cast<uint4*>(place(8 * half + c, half)) = {ptx::pack_fp16(x[0], x[1]), ptx::pack_fp16(x[2], x[3]),
                                                          ptx::pack_fp16(x[4], x[5]), ptx::pack_fp16(x[6], x[7])};
  if (half) *reinterpret_cast<uint4*>(place(8 + c, 0)) = uint4{};
  __syncwarp();
  uint32_t a[4] = {pair(at.row, 0)}, b[4];
  float d[4] = {}, corner[4] = {};
  ptx::mma_m16n8k16_fp16(d, a, lower_corner, 0);
  a[0] = ptx::pack_fp16(-d[0], -d[1]);
  ptx::ldmatrix_x4_trans(b, ptx::shared_address(place(8 + c, 1)));
  ptx::mma_m16n8k16_fp16(corner, a, b[0], 0);
  *reinterpret_cast<uint32_t*>(place(at.row, 1) + 2 * at.column) = ptx::pack_fp16(corner[0], corner[1]);
}

// Stores block (i, j) of a tile from fragments of its transpose.
__device__ inline void store_block(uint32_t tile, const Place& at, int i, int j, const uint32_t (&t)[4]) {
  ptx::stmatrix_x4_trans(tile + swizzled(16 * i + at.lane / 16 * 8 + at.lane % 8, 2 * j + at.lane / 8 % 2), t[0], t[1], t[2], t[3]);
}

// The tiles of a chunk while T is made, and this lane's part of them.
struct Substitution {
  Place at;
  uint32_t t, lower, inverse;
  int matrix = at.lane / 8, r = at.lane % 8;

  // Fragments of 16x16 matrices for mma. A^T: the left operand; B^T, the right one, of L (or T where it has taken its place).
  __device__ void left_of_inverse(uint32_t (&a)[4], int block) const {
    ptx::ldmatrix_x4(a, inverse + Inverses::place(block, matrix % 2 * 8 + r, matrix / 2));
  }
  __device__ void left_of_lower(uint32_t (&a)[4], int i, int j) const {
    ptx::ldmatrix_x4_trans(a, lower + swizzled(16 * i + matrix / 2 * 8 + r, 2 * j + matrix % 2));
  }
  __device__ void right_of_inverse(uint32_t (&b)[4], int block) const {
    ptx::ldmatrix_x4_trans(b, inverse + Inverses::place(block, matrix % 2 * 8 + r, matrix / 2));
  }
  __device__ void right_of_lower(uint32_t (&b)[4], int i, int j) const {
    ptx::ldmatrix_x4(b, lower + swizzled(16 * i + matrix / 2 * 8 + r, 2 * j + matrix % 2));
  }
};

// D += A B of 16x16 matrices.
__device__ inline void multiply_add(float (&d)[2][4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  ptx::mma_m16n8k16_fp16(d[0], a, b[0], b[1]);
  ptx::mma_m16n8k16_fp16(d[1], a, b[2], b[3]);
}

// A result, times `sign`, as a left operand.
__device__ inline void pack_left(const float (&d)[2][4], float sign, uint32_t (&a)[4]) {
#pragma unroll
  for (int e = 0; e < 4; ++e) a[e] = ptx::pack_fp16(sign * d[e / 2][e % 2 * 2], sign * d[e / 2][e % 2 * 2 + 1]);
}

// Block (i, j) of T from the transpose of its negative, times beta of its columns; where ToLower, T itself takes the place of L.
template <bool ToLower>
__device__ inline void store_solved(const Substitution& x, const Gates& gates, int i, int j, const float (&negative)[2][4]) {
  const float beta[2] = {gates.beta[16 * j + x.at.row], gates.beta[16 * j + x.at.row + 8]};
  uint32_t scaled[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float* d = &negative[e / 2][e % 2 * 2];
    scaled[e] = ptx::pack_fp16(-beta[e % 2] * d[0], -beta[e % 2] * d[1]);
  }
  store_block(x.t, x.at, i, j, scaled);
  if constexpr (!ToLower) return;
  uint32_t plain[4];
  pack_left(negative, -1, plain);
  store_block(x.lower, x.at, i, j, plain);
}

// T's diagonal block of warp W, and T_10 by warp 0, T_32 by warp 2.
template <int w>
__device__ inline void substitute_pairs(const Substitution& x, const Gates& gates) {
  uint32_t t[4];
  float d[2][4];
  x.left_of_inverse(t, w);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 z = __half22float2(*reinterpret_cast<const __half2*>(&t[i]));
    d[i / 2][i % 2 * 2] = -z.x, d[i / 2][i % 2 * 2 + 1] = -z.y;
  }
  store_solved<false>(x, gates, w, w, d);
  if constexpr (w % 2 == 0) {
    uint32_t b[4], y[4];
    float sum[2][4] = {}, negative[2][4] = {};
    x.right_of_lower(b, w + 1, w);
    multiply_add(sum, t, b);
    pack_left(sum, 1, y);
    x.right_of_inverse(b, w + 1);
    multiply_add(negative, y, b);
    store_solved<true>(x, gates, w + 1, w, negative);
  }
}

// Block (2 + W / 2, W % 2) of T by warp W.
template <int W>
__device__ inline void substitute_corner(const Substitution& x, const Gates& gates) {
  constexpr int row = 2 + W / 2, column = W % 2;
  uint32_t t[4], u[4], b[4], y[4];
  float sums[2][2][4] = {}, d[2][4] = {};
  x.left_of_inverse(t, column);
  if (column == 0) x.left_of_lower(u, 1, 0);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (2 + i > row) break;
    x.right_of_lower(b, 2 + i, column);
    multiply_add(sums[i], t, b);
    if (column == 0) {
      x.right_of_lower(b, 2 + i, 1);
      multiply_add(sums[i], u, b);
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (2 + i > row) break;
    pack_left(sums[i], 1, y);
    if (2 + i == row) x.right_of_inverse(b, row);
    else x.right_of_lower(b, 3, 2);
    multiply_add(d, y, b);
  }
  store_solved<false>(x, gates, row, column, d);
}

// P T to its tile.
__device__ inline void multiply_by_p(uint32_t t, uint32_t pt, const Place& at, const uint32_t (&p)[4][4]) {
  float d[32];
  const uint64_t operand = ptx::wgmma_operand(t, 0, 1024);
  ptx::wgmma_fence();
#pragma unroll
  for (int s = 0; s < 4; ++s)
    ptx::wgmma_m64n64k16_fp16<ptx::Major::kOther>(d, p[s], ptx::wgmma_advance(operand, s * 16 * kRowBytes), s > 0);
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin(d);
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t x[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = ptx::pack_fp16(d[8 * s + 2 * e], d[8 * s + 2 * e + 1]);
    ptx::stmatrix_x4(pt + swizzled(16 * at.warp + at.lane / 8 % 2 * 8 + at.lane % 8, 2 * s + at.lane / 16), x[0], x[1], x[2], x[3]);
  }
}

// f<W>() of the warp's number, so that its code has no branches and its loads overlap.
template <class F>
__device__ inline void by_warp(int warp, F f) {
  switch (warp) {
    case 0:
      return f.template operator()<0>();
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    default:
      return f.template operator()<3>();
  }
}

// T, and P T where outputs are wanted, of one chunk and head from its K K^T and Q K^T. T's tile holds zeros above its diagonal
// blocks. `barrier`: one of the hardware's, for this group alone.
template <bool Outputs>
__device__ inline void solve_head(const Place& at, const uint32_t (&kk)[16], const uint32_t (&qk)[16], const Gates& gates,
                                  Inverses& inverses, Solved& to, float scale, int barrier) {
  const Substitution x{
      .at = at, .t = ptx::shared_address(to.t), .lower = ptx::shared_address(to.pt), .inverse = ptx::shared_address(&inverses)};
  uint32_t p[4][4];
  by_warp(x.at.warp, [&]<int W>() { apply_decays<Outputs, W>(gates, x.at, kk, qk, scale, to.pt, inverses, p); });
  __syncwarp();
  invert_diagonal(inverses, x.at);
  ptx::named_barrier(barrier, kGroup);
  by_warp(x.at.warp, [&]<int W>() { substitute_pairs<W>(x, gates); });
  ptx::named_barrier(barrier, kGroup);
  by_warp(x.at.warp, [&]<int W>() { substitute_corner<W>(x, gates); });
  ptx::fence_proxy_async();
  if constexpr (Outputs) {
    ptx::named_barrier(barrier, kGroup);
    multiply_by_p(x.t, x.lower, x.at, p);
    ptx::fence_proxy_async();
  }
}

}  // namespace sluice::gdn_sm90
