// The step of rows that the caller has: q, k, v and gates in, o out. For gdn_decode, gdn_verify and gdn_decode_classic.
#pragma once

#include "ops/gdn_chunk/pool.cuh"

namespace sluice::gdn::gpu {

struct RowsOp {
  static constexpr bool kMakesRows = false;
  Pool pool;
  Sequences sequences;
  CallRows q, k, v, o;
  const float *log_g = nullptr, *beta = nullptr;
  int64_t log_g_stride = 0, beta_stride = 0;  // elements from row to row
  float scale = 0, l2_eps = 0;
  bool qk_l2norm = false, closes = false;
  int drafts = 1;

  __device__ void load(const Piece& p, int t, Part part, int column, float (&x)[4]) const {
    const CallRows& rows = part == Part::kKey ? k : part == Part::kQuery ? q : v;
    load4(rows, (p.t + t) * rows.row_stride + (part == Part::kValue ? p.head : p.key_head) * rows.head_stride + column, x);
  }
  __device__ void gates(const Piece& p, int t, float& log_g_t, float& beta_t) const {
    log_g_t = log_g[(p.t + t) * log_g_stride + p.head], beta_t = beta[(p.t + t) * beta_stride + p.head];
  }
  __device__ void prepare(const Piece&, const Scratch&) const {}
  __device__ void emit(const Piece& p, const Scratch&, int t, int e, float x) const {
    store1(o, (p.t + t) * o.row_stride + p.head * o.head_stride + e, x);
  }
  __device__ void finish(const Piece&, const Scratch&) const {}
  __device__ void clear(const Piece& p, int64_t end) const {
    for (int64_t t = p.t; t < end; ++t)
      for (int e = threadIdx.x; e < pool.V; e += kThreads) store1(o, t * o.row_stride + p.head * o.head_stride + e, 0);
  }
};

// The rows and scalars that GdnArgs and GdnDecodeClassicArgs name alike; slots too.
template <class Args>
RowsOp make_rows_op(const Args& a, const GdnState& state) {
  RowsOp op{.pool = make_pool(state, a.k.dim(1)), .sequences = {.slots = a.slots.template as<int32_t>()}};
  op.q = make_call_rows(a.q), op.k = make_call_rows(a.k), op.v = make_call_rows(a.v), op.o = make_call_rows(a.o);
  op.log_g = a.log_g.template as<float>(), op.log_g_stride = a.log_g.stride[0];
  op.beta = a.beta.template as<float>(), op.beta_stride = a.beta.stride[0];
  op.scale = a.scale, op.l2_eps = a.l2_eps, op.qk_l2norm = a.qk_l2norm;
  return op;
}

}  // namespace sluice::gdn::gpu
