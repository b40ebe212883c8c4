// gdn_prefill on compute capability 10.0 and 10.3: S through the chunks, and the outputs.
#pragma once

#include "ops/gdn_prefill/sm100.cuh"

namespace sluice::gdn_sm100 {

inline constexpr int kParts = kDim / 32;  // S is taken 32 columns at a time

// D (+)= A B^T of 16-bit elements over `Steps` times 16 columns of A, which lies in tensor memory; B is `stride` bytes further on
// for each.
template <int Steps>
__device__ inline void multiply(uint32_t d, uint32_t a, uint64_t b, uint32_t stride, uint32_t shape, bool accumulate) {
#pragma unroll
  for (int s = 0; s < Steps; ++s) ptx::tcgen05_mma(d, a + 8 * s, ptx::tcgen05_advance(b, s * stride), shape, accumulate || s > 0);
}

// One thread of a warp of its own: the products with S and W of every chunk.
__device__ inline void multiply_state(const Params& p, Shared& sm) {
  constexpr uint32_t kKeysQueries = ptx::tcgen05_shape(ptx::Half::kBf16, 2 * kC, ptx::Major::kSummed);
  constexpr uint32_t kSolved = ptx::tcgen05_shape(ptx::Half::kFp16, kC, ptx::Major::kSummed);
  constexpr uint32_t kKeys = ptx::tcgen05_shape(ptx::Half::kBf16, kDim, ptx::Major::kOther);
  const uint32_t tm = sm.tensor_memory;
  each_chunk(p, [&](const Unit& u, int c, uint32_t n) {
    const Turn turn(n);
    Stage& stage = sm.stages[turn.stage];
    turn.wait_full(sm.full);
    wait_products(sm.state_operand, n);
    multiply<4>(tm + kKnown, tm + kStateOperand, rows_operand(stage.rows.k0), 32, kKeysQueries, false);
    multiply<4>(tm + kKnown, tm + kStateOperand + 32, rows_operand(stage.rows.k1), 32, kKeysQueries, true);
    ptx::tcgen05_commit(&sm.known);

    turn.wait_full(sm.solved);
    wait_products(sm.w_operand, n);
    multiply<4>(tm + kKnown, tm + kWOperand, rows_operand(stage.solved[0]), 32, kSolved, false);
    ptx::tcgen05_commit(&sm.u);
    multiply<4>(tm + kOut, tm + kWOperand, rows_operand(stage.solved[1]), 32, kSolved, false);
    ptx::tcgen05_commit(&sm.out);

    // B's rows are features here: 64 of them a row of shared memory, the other 64 in the second half.
    const uint64_t keys = ptx::tcgen05_operand(ptx::shared_address(&stage.rows), 2 * kTile, 1024);
    wait_products(sm.u_operand, n);
    multiply<4>(tm + kState, tm + kUOperand, keys, 16 * kRowBytes, kKeys, true);
    if (stored_after(p, u, c)) multiply<4>(tm + kState, tm + kWOperand, keys, 16 * kRowBytes, kKeys, true);
    ptx::tcgen05_commit(&sm.state);
    ptx::tcgen05_commit(&sm.done[turn.stage]);
  });
}

// 32 elements of a row of memory, 16 bytes at a time.
__device__ inline void load_part(const float* from, float (&x)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i += 4) {
    const float4 y = *reinterpret_cast<const float4*>(from + i);
    x[i] = y.x, x[i + 1] = y.y, x[i + 2] = y.z, x[i + 3] = y.w;
  }
}
__device__ inline void load_part(const __nv_bfloat16* from, float (&x)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i += 8) {
    const uint4 y = *reinterpret_cast<const uint4*>(from + i);
    const uint32_t word[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int e = 0; e < 4; ++e)
      x[i + 2 * e] = __uint_as_float(word[e] << 16), x[i + 2 * e + 1] = __uint_as_float(word[e] & 0xffff0000u);
  }
}
__device__ inline void store_part(float* to, const float (&x)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i += 4) *reinterpret_cast<float4*>(to + i) = {x[i], x[i + 1], x[i + 2], x[i + 3]};
}
__device__ inline void store_part(__nv_bfloat16* to, const float (&x)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i += 8)
    *reinterpret_cast<uint4*>(to + i) = {ptx::pack_bf16(x[i], x[i + 1]), ptx::pack_bf16(x[i + 2], x[i + 3]),
                                         ptx::pack_bf16(x[i + 4], x[i + 5]), ptx::pack_bf16(x[i + 6], x[i + 7])};
}

// Part of row v of S^T as of the last row seen: the stored state and the rows of the open chunk.
__device__ inline void load_pool(const Params& p, const Unit& u, const Pool& pool, int v, int part, float (&s)[32]) {
  const int64_t at = pool.s + v * kDim + 32 * part;
  if (u.fresh)
#pragma unroll
    for (float& x : s) x = 0;
  else if (p.bf16_state) load_part(static_cast<const __nv_bfloat16*>(p.s) + at, s);
  else load_part(static_cast<const float*>(p.s) + at, s);
  if (u.open == 0) return;
  const float last = pool.g[u.open - 1], decay = ptx::exp2_approx(kLog2E * last);
#pragma unroll
  for (float& x : s) x *= decay;
  for (int j = 0; j < u.open; ++j) {
    const float a = ptx::exp2_approx(kLog2E * (last - pool.g[j])) * pool.u[j * kDim + v];
    float k[32];
    load_part(pool.k + j * kDim + 32 * part, k);
#pragma unroll
    for (int i = 0; i < 32; ++i) s[i] += a * k[i];
  }
}

__device__ inline void store_pool(const Params& p, const Pool& pool, int v, int part, const float (&s)[32]) {
  const int64_t at = pool.s + v * kDim + 32 * part;
  if (p.bf16_state) store_part(static_cast<__nv_bfloat16*>(p.s) + at, s);
  else store_part(static_cast<float*>(p.s) + at, s);
}

__device__ inline void store_checkpoint(const Params& p, const Unit& u, int c, int v, int part, const float (&s)[32]) {
  const int every = p.checkpoint_chunks;
  const int64_t row = p.checkpoint_cu[u.seq] + (u.position + c + 1) / every - 1 - u.position / every;
  store_part(p.checkpoints + row * p.checkpoint_pitch + (int64_t(u.head) * kDim + v) * kDim + 32 * part, s);
}

// 32 elements as operands, and what rounding to bf16 left of them.
__device__ inline void pack_bf16(const float (&x)[32], uint32_t (&to)[16]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) to[i] = ptx::pack_bf16(x[2 * i], x[2 * i + 1]);
}
__device__ inline void pack_left(const float (&x)[32], const uint32_t (&taken)[16], uint32_t (&to)[16]) {
#pragma unroll
  for (int i = 0; i < 16; ++i)
    to[i] = ptx::pack_bf16(x[2 * i] - __uint_as_float(taken[i] << 16), x[2 * i + 1] - __uint_as_float(taken[i] & 0xffff0000u));
}

// Part of S to the tensor cores: as an operand, and decayed by the chunk's gates as what U is added to.
__device__ inline void give_state(uint32_t lanes, int part, float (&s)[32], float whole) {
  uint32_t s16[16];
  pack_bf16(s, s16);
  ptx::tmem_store(lanes + kStateOperand + 16 * part, s16);
#pragma unroll
  for (float& x : s) x *= whole;
  ptx::tmem_store(lanes + kState + 32 * part, s);
}

// Factors of 32 rows of a chunk, times x in turn.
__device__ inline void scale_rows(const float* factors, float (&x)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i += 4) {
    const float4 f = *reinterpret_cast<const float4*>(factors + i);
    x[i] *= f.x, x[i + 1] *= f.y, x[i + 2] *= f.z, x[i + 3] *= f.w;
  }
}

// The thread's column of V, S^T's row, through the chunks of a unit.
struct Column {
  const Params& p;
  const Unit& u;
  Shared& sm;
  int v;
  uint32_t lanes;

  // The unit's first state.
  __device__ void begin(uint32_t n) const {
    const Turn turn(n);
    const Pool pool(p, u);
    turn.wait_full(sm.full);
    const float whole = sm.gates[turn.stage].whole;
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) {
      float s[32];
      load_pool(p, u, pool, v, part, s);
      give_state(lanes, part, s, whole);
    }
    warp_arrive_for_products(&sm.state_operand);
  }

  // W = V - diag(gamma) K S. Rows past the chunk's end must be finite.
  __device__ void make_w(const Stage& stage, const Gates& gates, int rows) const {
    const int column = ptx::opaque(v);  // or the addresses of all rows would be kept from one chunk to the next
    const uint8_t* values = stage.values[column / 64] + column % 8 * 2;
    const auto value = [&](int i) {
      const uint8_t* at = values + i * kRowBytes + (column / 8 ^ i) % 8 * 16;
      return i < rows ? __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(at)) : 0.0f;
    };
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float known[32];
      uint32_t w[16];
      fetch(known, lanes + kKnown + 32 * half);
      scale_rows(gates.decay + 32 * half, known);
#pragma unroll
      for (int j = 0; j < 16; ++j) {
        const int i = 32 * half + 2 * j;
        w[j] = ptx::pack_fp16(value(i) - known[2 * j], value(i + 1) - known[2 * j + 1]);
      }
      ptx::tmem_store(lanes + kWOperand + 16 * half, w);
    }
    warp_arrive_for_products(&sm.w_operand);
  }

  // U as an operand; its rows that stay open to the pool.
  __device__ void take_u(const Gates& gates, int c, uint32_t n) const {
    const bool exact = stored_after(p, u, c), opens = c + 1 == u.chunks && u.closed < u.last;
    const Pool pool(p, u);
    if (exact) wait_products(sm.out, n);  // W is used, and what is left of U takes its place
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float x[32];
      uint32_t x16[16];
      fetch(x, lanes + kKnown + 32 * half);
      if (opens)
#pragma unroll
        for (int j = 0; j < 32; ++j) {
          const int i = 32 * half + j;
          if (i >= u.closed && i < u.last) pool.u[(u.open_at + i - u.closed) * kDim + v] = x[j];
        }
      scale_rows(gates.rest + 32 * half, x);
      pack_bf16(x, x16);
      ptx::tmem_store(lanes + kUOperand + 16 * half, x16);
      if (!exact) continue;
      uint32_t left[16];
      pack_left(x, x16, left);
      ptx::tmem_store(lanes + kWOperand + 16 * half, left);
    }
    warp_arrive_for_products(&sm.u_operand);
  }

  // The column's outputs, two rows a register.
  __device__ void take_output(const Gates& gates, uint32_t (&o)[32]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float seen[32], out[32];
      fetch(seen, lanes + kSeen + 32 * half);
      fetch(out, lanes + kOut + 32 * half);
      scale_rows(gates.out + 32 * half, seen);
#pragma unroll
      for (int j = 0; j < 16; ++j) o[16 * half + j] = ptx::pack_bf16(seen[2 * j] + out[2 * j], seen[2 * j + 1] + out[2 * j + 1]);
    }
  }

  __device__ void store_output(int row, int rows, const uint32_t (&o)[32]) const {
    uint16_t* to = reinterpret_cast<uint16_t*>(p.o) + row * p.o_row_stride + u.head * p.o_head_stride + v;
#pragma unroll
    for (int i = 0; i < kC; ++i)
      if (i < rows) to[i * p.o_row_stride] = uint16_t(i % 2 ? o[i / 2] >> 16 : o[i / 2]);
  }

  // G of the rows that stay open, on top of that of the open row ahead of them; by one warp.
  __device__ void store_open_g(const Gates& gates) const {
    const Pool pool(p, u);
    const float base = u.closed ? gates.sum[u.closed - 1] : 0.0f, before = u.open_at ? pool.g[u.open_at - 1] : 0.0f;
    for (int i = u.closed + v; i < u.last; i += 32) pool.g[u.open_at + i - u.closed] = before + (gates.sum[i] - base) / kLog2E;
  }

  // S after chunk c: to whom it is due, and to the next chunk, the n-th of this block.
  __device__ void pass_state(int c, uint32_t n) const {
    const bool last = c + 1 == u.chunks, checkpoint = at_checkpoint(p, u, c), keep = last && u.keep;
    const Turn turn(n);
    const Pool pool(p, u);
    if (!last) turn.wait_full(sm.full);
    const float whole = last ? 0.0f : sm.gates[turn.stage].whole;
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) {
      float s[32];
      fetch(s, lanes + kState + 32 * part);
      if (checkpoint) store_checkpoint(p, u, c, v, part, s);
      if (keep) store_pool(p, pool, v, part, s);
      if (!last) give_state(lanes, part, s, whole);
    }
    if (!last) warp_arrive_for_products(&sm.state_operand);
  }

  __device__ void clear_output() const {
    for (int i = u.row; i < u.end; ++i) p.o[i * p.o_row_stride + u.head * p.o_head_stride + v] = __nv_bfloat16(0.0f);
  }

  // A new sequence without rows.
  __device__ void clear_state() const {
    const Pool pool(p, u);
    const float zero[32] = {};
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) store_pool(p, pool, v, part, zero);
  }

  // The chunks, the n-th of this block on.
  __device__ void run(uint32_t n) const {
    if (u.slot < 0) return clear_output();
    if (u.chunks == 0) return u.keep ? clear_state() : void();
    begin(n);
    for (int c = 0; c < u.chunks; ++c, ++n) {
      const Turn turn(n);
      const Stage& stage = sm.stages[turn.stage];
      const Gates& gates = sm.gates[turn.stage];
      uint32_t o[32];
      turn.wait_full(sm.full);
      wait_products(sm.known, n);
      make_w(stage, gates, u.rows_of(c));
      wait_products(sm.u, n);
      take_u(gates, c, n);
      wait_products(sm.out, n);
      take_output(gates, o);
      if (c + 1 == u.chunks && v < 32) store_open_g(gates);
      warp_arrive(&sm.done[turn.stage]);
      wait_products(sm.state, n);
      pass_state(c, n + 1);
      store_output(u.row_of(c), u.rows_of(c), o);  // while the next chunk's products run
    }
  }
};

__device__ inline void run_state(const Params& p, Shared& sm) {
  const uint32_t lanes = own_lanes(sm.tensor_memory);
  each_unit(p, [&](const Unit& u, uint32_t n) { Column{p, u, sm, int(threadIdx.x) % kGroup, lanes}.run(n); });
}

}  // namespace sluice::gdn_sm100
