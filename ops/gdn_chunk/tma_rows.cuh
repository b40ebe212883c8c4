// Rows that the caller has: q, k, v and gates in, o out. For gdn_decode, gdn_verify and gdn_decode_classic.
#pragma once

#include "ops/gdn_chunk/tma_append.cuh"

namespace sluice::gdn::tma {

// X: the type of q, k and v.
template <class X>
struct RowsOp {
  Pool pool;
  Sequences sequences;
  InputRows<X> q, k, v;
  RowView o;
  const float *log_g = nullptr, *beta = nullptr;
  int64_t log_g_stride = 0, beta_stride = 0;  // elements from row to row
  float scale = 0, l2_eps = 0;
  bool qk_l2norm = false, closes = false;

  __device__ void clear(const Piece& p, int64_t end) const {
    for (int64_t t = p.t; t < end; ++t) store(o, t, p.head, 0);
  }

  template <int T>
  struct Input {
    uint32_t k_raw[T], q_raw[T], v_raw[T];
    float log_g, beta;  // of the row that is this thread's number

    __device__ void prepare(const RowsOp&, const Piece&) {}
    __device__ void prefetch(const RowsOp&, const Piece&) const {}
    __device__ void ask(const RowsOp& op, const Piece& p) {
      log_g = beta = 0;
      if (const int64_t t = p.t + threadIdx.x; int(threadIdx.x) < p.count)
        log_g = op.log_g[t * op.log_g_stride + p.head], beta = op.beta[t * op.beta_stride + p.head];
#pragma unroll
      for (int t = 0; t < T; ++t) {
        k_raw[t] = q_raw[t] = v_raw[t] = 0;
        if (t >= p.count) continue;
        k_raw[t] = tma::ask(op.k.at(p.t + t, p.key_head)), q_raw[t] = tma::ask(op.q.at(p.t + t, p.key_head));
        v_raw[t] = tma::ask(op.v.at(p.t + t, p.head));
      }
    }
    __device__ void ask_slot(const RowsOp&, const Piece&) {}
    __device__ void take(const RowsOp&, const Piece&, NewRows<T>& rows) const {
#pragma unroll
      for (int t = 0; t < T; ++t)
        rows.k[t] = tma::take<X>(k_raw[t]), rows.q[t] = tma::take<X>(q_raw[t]), rows.v[t] = tma::take<X>(v_raw[t]);
    }
    __device__ void gates(const RowsOp&, float& log_g_t, float& beta_t) const { log_g_t = log_g, beta_t = beta; }
    __device__ void finish(const RowsOp& op, const Piece& p, float*, const float (&o)[T]) const {
#pragma unroll
      for (int t = 0; t < T; ++t)
        if (t < p.count) store(op.o, p.t + t, p.head, o[t]);
    }
  };
};

// The rows and scalars that GdnArgs and GdnDecodeClassicArgs name alike; slots too.
template <class X, class Args>
RowsOp<X> make_rows_op(const Args& a, const GdnState& state) {
  RowsOp<X> op{.pool = gpu::make_pool(state, a.k.dim(1))};
  op.sequences.slots = a.slots.template as<int32_t>();
  op.q = InputRows<X>(a.q), op.k = InputRows<X>(a.k), op.v = InputRows<X>(a.v), op.o = make_row_view(a.o);
  op.log_g = a.log_g.template as<float>(), op.log_g_stride = a.log_g.stride[0];
  op.beta = a.beta.template as<float>(), op.beta_stride = a.beta.stride[0];
  op.scale = a.scale, op.l2_eps = a.l2_eps, op.qk_l2norm = a.qk_l2norm;
  return op;
}

}  // namespace sluice::gdn::tma
