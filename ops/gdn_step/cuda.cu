// A decode step in one launch: a block takes one value head of one sequence from the projection's output to the gated norm.
//
// The blocks of one key head each make its q and k: the convolution of 256 channels costs less than handing them over. The first of
// them alone writes their input into the ring, into a place that none of them reads.
#include "ops/gating/gates.cuh"
#include "ops/gdn_chunk/pool.cuh"
#include "ops/gdn_step/forms.h"

namespace sluice {
namespace {

using namespace gdn::gpu;

constexpr int kMostTaps = 4;

// A vector or matrix of either type.
struct Floats {
  const void* data = nullptr;
  bool bf16 = false;
  int64_t stride = 0;  // elements from row to row

  Floats() = default;
  explicit Floats(const Tensor& t) : data(t.data), bf16(t.dtype == DType::kBF16), stride(t.stride[0]) {}
  __device__ uint32_t raw(int64_t i) const { return raw1(data, bf16, i); }
};

struct StepOp {
  static constexpr bool kMakesRows = true, qk_l2norm = true, closes = true;
  static constexpr int drafts = 1;
  Pool pool;
  Sequences sequences;
  CallRows qkv, z, y;
  CallRows ring;    // [S, R, C]
  CallRows weight;  // [C, W], a row of 4 taps read at once where W is 4
  int64_t ring_mask = 0;
  int taps = 0;
  CallRows norm_weight;  // [1, V]
  Floats a, b, A_log, dt_bias;
  float scale = 0, l2_eps = 0, norm_eps = 0;
  bool allow_neg_eigval = false;

  // Taps of channel `channel`, the oldest first, zeros where the width is less than 4.
  __device__ uint4 raw_taps(int64_t channel) const {
    if (taps == kMostTaps) return raw4(weight, channel * kMostTaps);
    uint32_t one[kMostTaps];
#pragma unroll
    for (int tap = 0; tap < kMostTaps; ++tap) {
      const int from = tap - (kMostTaps - taps);
      one[tap] = from < 0 ? 0 : raw1(weight.data, weight.bf16, channel * taps + from);
    }
    if (weight.bf16) return {one[0] | one[1] << 16, one[2] | one[3] << 16, 0, 0};
    return {one[0], one[1], one[2], one[3]};
  }

  // silu of the convolution, four channels; the input goes into the ring if this block is the one to write it.
  __device__ void convolve(const Piece& p, int64_t channel, bool writes, float (&x)[4]) const {
    const int64_t slot = p.slot * ring.row_stride + channel;
    uint4 past[kMostTaps - 1] = {}, by_channel[4];
#pragma unroll
    for (int tap = 0; tap < kMostTaps - 1; ++tap) {
      const int64_t back = kMostTaps - 1 - tap, position = p.start - back;
      if (back < taps && position >= 0) past[tap] = raw4(ring, slot + (position & ring_mask) * ring.head_stride);
    }
    const uint4 newest = raw4(qkv, p.t * qkv.row_stride + channel);
#pragma unroll
    for (int i = 0; i < 4; ++i) by_channel[i] = raw_taps(channel + i);

    float input[kMostTaps][4], w[4][kMostTaps];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      widen(by_channel[i], weight.bf16, w[i]);
      if (i < kMostTaps - 1) widen(past[i], ring.bf16, input[i]);
      else widen(newest, qkv.bf16, input[i]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float sum = 0;
#pragma unroll
      for (int tap = 0; tap < kMostTaps; ++tap) sum = fmaf(w[i][tap], input[tap][i], sum);
      x[i] = sum / (1 + expf(-sum));
    }
    if (writes) store4(ring, slot + (p.start & ring_mask) * ring.head_stride, input[kMostTaps - 1]);
  }

  __device__ void load(const Piece& p, int, Part part, int column, float (&x)[4]) const {
    const int64_t keys = int64_t(pool.HK) * pool.K;
    if (part == Part::kValue) convolve(p, 2 * keys + int64_t(p.head) * pool.V + column, true, x);
    else convolve(p, (part == Part::kKey ? keys : 0) + int64_t(p.key_head) * pool.K + column, p.keeps_key, x);
  }

  __device__ void gates(const Piece& p, int, float& log_g, float& beta) const {
    const uint32_t a_raw = a.raw(p.t * a.stride + p.head), b_raw = b.raw(p.t * b.stride + p.head);
    const uint32_t bias = dt_bias.raw(p.head), rate = A_log.raw(p.head);
    const cuda::Gates g = cuda::gates_of(widen(a_raw, a.bf16), widen(b_raw, b.bf16), -expf(widen(rate, A_log.bf16)),
                                         widen(bias, dt_bias.bf16), allow_neg_eigval ? 2.0f : 1.0f);
    log_g = g.log_g, beta = g.beta;
  }

  // The output gate times the norm's weight.
  __device__ void prepare(const Piece& p, const Scratch& w) const {
    for (int e = 4 * (threadIdx.x % kWarp); e < pool.V; e += kGroup) {
      const uint4 gate_raw = raw4(z, p.t * z.row_stride + p.head * z.head_stride + e), weight_raw = raw4(norm_weight, e);
      float x[4], weight_e[4];
      widen(gate_raw, z.bf16, x), widen(weight_raw, norm_weight.bf16, weight_e);
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = x[i] / (1 + expf(-x[i])) * weight_e[i];
      store4(w.gate + e, x);
    }
  }

  // o takes the place of the product that went into it.
  __device__ void emit(const Piece&, const Scratch& w, int, int e, float o) const { w.s_q[e] = o; }

  __device__ void finish(const Piece& p, const Scratch& w) const {
    if (threadIdx.x >= kWarp) return;
    float sum = 0;
    for (int e = threadIdx.x; e < pool.V; e += kWarp) sum = fmaf(w.s_q[e], w.s_q[e], sum);
    const float norm = 1 / sqrtf(cuda::group_sum(sum) / float(pool.V) + norm_eps);
    for (int e = 4 * threadIdx.x; e < pool.V; e += kGroup) {
      float x[4], gate[4];
      load4(w.s_q + e, x), load4(w.gate + e, gate);
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] *= norm * gate[i];
      store4(y, p.t * y.row_stride + p.head * y.head_stride + e, x);
    }
  }

  __device__ void clear(const Piece& p, int64_t) const {
    for (int e = threadIdx.x; e < pool.V; e += kThreads) store1(y, p.t * y.row_stride + p.head * y.head_stride + e, 0);
  }
};

}  // namespace

Status gdn_step_cuda(Context& ctx, const GdnStepArgs& a, std::byte*) {
  StepOp op{.pool = make_pool(a.state, step_key_heads(a))};
  op.sequences = {.start = a.start.as<int32_t>(), .slots = a.slots.as<int32_t>()};
  op.qkv = make_call_rows(a.qkv), op.z = make_call_rows(a.z), op.y = make_call_rows(a.y);
  op.ring = make_call_rows(a.conv_ring), op.ring_mask = a.conv_ring.dim(1) - 1;
  op.weight = make_call_rows(a.conv_weight), op.taps = int(a.conv_weight.dim(1));
  op.a = Floats(a.a), op.b = Floats(a.b), op.A_log = Floats(a.A_log), op.dt_bias = Floats(a.dt_bias);
  op.norm_weight = make_call_rows(a.norm_weight.reshape({1, a.norm_weight.dim(0)}));
  op.scale = a.scale, op.l2_eps = a.l2_eps, op.norm_eps = a.norm_eps, op.allow_neg_eigval = a.allow_neg_eigval;
  return launch_append<true>(ctx, op, a.state.s.dtype, a.slots.dim(0));
}

}  // namespace sluice
