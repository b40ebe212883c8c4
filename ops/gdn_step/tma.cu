// A decode step in one launch on compute capability 9.0 and up: a block takes one value head of one sequence from the projection's
// output to the gated norm, see ops/gdn_chunk/tma_append.cuh. Thread e has channel e of q, k and v.
//
// The blocks of one key head each make its q and k: the convolution of 256 channels costs less than handing them over. The first of
// them alone writes their input into the ring, into a place that none of them reads.
#include "ops/gating/gates.cuh"
#include "ops/gdn_chunk/tma_append.cuh"
#include "ops/gdn_step/forms.h"

namespace sluice {
namespace {

using namespace gdn::tma;
namespace tma = gdn::tma;
using gdn::RowView;

constexpr int kTaps = 4;

// The convolution's last inputs [S, R, C], of either type at 4-byte aligned rows: a thread asks for the word that has its element.
struct Ring {
  char* data = nullptr;
  bool bf16 = false;
  int row = 0, mask = 0;  // bytes from row to row; R - 1
  int64_t pitch = 0;      // bytes

  Ring() = default;
  explicit Ring(const Tensor& t) : data(static_cast<char*>(t.data)), bf16(t.dtype == DType::kBF16), mask(int(t.dim(1)) - 1) {
    const int64_t size = int64_t(dtype_size(t.dtype));
    row = int(t.stride[1] * size), pitch = t.stride[0] * size;
  }

  __device__ char* at(int channel) const { return data + channel * (bf16 ? 2 : 4); }
  __device__ int64_t offset(int slot, int position) const { return slot * pitch + (position & mask) * row; }
  static __device__ uint32_t ask(const char* p) { return *reinterpret_cast<const uint32_t*>(uintptr_t(p) & ~uintptr_t(3)); }
  __device__ float take(uint32_t word) const {
    const int shift = bf16 && threadIdx.x % 2 == 0 ? 16 : 0;
    return __uint_as_float(word << shift & (bf16 ? 0xffff0000u : 0xffffffffu));
  }
  __device__ void put(char* p, float x) const {
    if (bf16) *reinterpret_cast<Bf16*>(p) = cuda::from_float<Bf16>(x);
    else *reinterpret_cast<float*>(p) = x;
  }
};

__device__ uint4 ask_taps(const float* p) { return *reinterpret_cast<const uint4*>(p); }
__device__ uint4 ask_taps(const Bf16* p) {
  const uint2 two = *reinterpret_cast<const uint2*>(p);
  return {two.x, two.y, 0, 0};
}

// x sigmoid(x), never contracted with what it is added to: the bits of a row are those of its parts.
__device__ float silu(float x) { return __fmul_rn(x, cuda::ptx::rcp_approx(1 + expf(-x))); }

// X: the type of the projections and the weights, but for those of the gates.
template <class X>
struct StepOp {
  static constexpr bool qk_l2norm = true, closes = true;
  Pool pool;
  Sequences sequences;
  InputRows<X> qkv, z;
  RowView y;
  Ring ring;
  const X *weight = nullptr, *norm_weight = nullptr;  // [C, 4]; [V]
  InputRows<X> a, b;
  RowView A_log, dt_bias;
  float scale = 0, l2_eps = 0, norm_eps = 0, top_beta = 1;

  __device__ void clear(const Piece& p, int64_t) const { store(y, p.b, p.head, 0); }

  template <int T>
  struct Input {
    // Of this thread's channels of q, k and v in turn: where their input, taps and ring are; what lies there.
    const X *input[3], *taps_at[3], *gate_at, *norm_weight_at, *a_at, *b_at;
    char* ring[3];
    uint32_t newest[3], past[3][kTaps - 1], gate, norm_weight, a, b, rate, bias;
    uint4 taps[3];
    float out_scale;

    __device__ void prepare(const StepOp& op, const Piece& p) {
      const int keys = op.pool.HK * kDim, e = threadIdx.x;
      const int channel[3] = {p.key_head * kDim + e, keys + p.key_head * kDim + e, 2 * keys + p.head * kDim + e};
#pragma unroll
      for (int part = 0; part < 3; ++part) {
        input[part] = op.qkv.at(p.b) - e + channel[part], taps_at[part] = op.weight + channel[part] * int64_t(kTaps);
        ring[part] = op.ring.at(channel[part]);
        ptx::pin(input[part]), ptx::pin(taps_at[part]), ptx::pin(ring[part]);
      }
      gate_at = op.z.at(p.b, p.head), norm_weight_at = op.norm_weight + e;
      a_at = op.a.at(p.b) - e + p.head, b_at = op.b.at(p.b) - e + p.head;
      ptx::pin(gate_at), ptx::pin(norm_weight_at), ptx::pin(a_at), ptx::pin(b_at);
    }

    __device__ void prefetch(const StepOp& op, const Piece& p) const {
      if (threadIdx.x % cuda::kWarp != 0) return;
#pragma unroll
      for (int part = 0; part < 3; ++part) {
        ptx::prefetch_l2(taps_at[part]);
#pragma unroll
        for (int back = 1; back < kTaps; ++back) ptx::prefetch_l2(ring[part] + op.ring.offset(p.slot, p.start - back));
      }
    }

    __device__ void ask(const StepOp& op, const Piece& p) {
#pragma unroll
      for (int part = 0; part < 3; ++part) newest[part] = tma::ask(input[part]), taps[part] = ask_taps(taps_at[part]);
      gate = tma::ask(gate_at), norm_weight = tma::ask(norm_weight_at);
      if (threadIdx.x != 0) return;
      a = tma::ask(a_at), b = tma::ask(b_at);
      rate = gdn::gpu::raw1(op.A_log.data, op.A_log.bf16, p.head), bias = gdn::gpu::raw1(op.dt_bias.data, op.dt_bias.bf16, p.head);
    }

    __device__ void ask_slot(const StepOp& op, const Piece& p) {
#pragma unroll
      for (int tap = 0; tap < kTaps - 1; ++tap) {
        const int position = p.start - (kTaps - 1 - tap);
        const int64_t offset = op.ring.offset(p.slot, position);
#pragma unroll
        for (int part = 0; part < 3; ++part) past[part][tap] = position < 0 ? 0 : Ring::ask(ring[part] + offset);
      }
    }

    // The convolution of this thread's channel of q, k or v; its input goes into the ring if this block is the one to write it.
    __device__ float convolve(const StepOp& op, const Piece& p, int part) const {
      float weight[kTaps], sum = 0;
      gdn::gpu::widen(taps[part], sizeof(X) == 2, weight);
#pragma unroll
      for (int tap = 0; tap < kTaps - 1; ++tap) sum = fmaf(weight[tap], op.ring.take(past[part][tap]), sum);
      const float x = tma::take<X>(newest[part]);
      if (part == 2 || blockIdx.x == 0) op.ring.put(ring[part] + op.ring.offset(p.slot, p.start), x);
      return silu(fmaf(weight[kTaps - 1], x, sum));
    }

    __device__ void take(const StepOp& op, const Piece& p, NewRows<T>& rows) {
      out_scale = silu(tma::take<X>(gate)) * tma::take<X>(norm_weight);
      rows.q[0] = convolve(op, p, 0), rows.k[0] = convolve(op, p, 1), rows.v[0] = convolve(op, p, 2);
    }

    __device__ void gates(const StepOp& op, float& log_g, float& beta) const {
      log_g = beta = 0;
      if (threadIdx.x != 0) return;
      const auto widen = [](const RowView& x, uint32_t raw) { return gdn::gpu::widen(raw, x.bf16); };
      const cuda::Gates g =
          cuda::gates_of(tma::take<X>(a), tma::take<X>(b), -expf(widen(op.A_log, rate)), widen(op.dt_bias, bias), op.top_beta);
      log_g = g.log_g, beta = g.beta;
    }

    __device__ void finish(const StepOp& op, const Piece& p, float* sums, const float (&o)[T]) const {
      float square[1] = {__fmul_rn(o[0], o[0])};
      spread_sums<cuda::kWarp>(square);
      sums[threadIdx.x / cuda::kWarp] = square[0];
      __syncthreads();
      float part[kWarps];
      gdn::gpu::load4(sums, part);
      const float norm = rsqrtf(((part[0] + part[1]) + (part[2] + part[3])) / kDim + op.norm_eps);
      store(op.y, p.b, p.head, o[0] * norm * out_scale);
    }
  };
};

template <class X>
Status step(Context& ctx, const GdnStepArgs& a) {
  StepOp<X> op{.pool = gdn::gpu::make_pool(a.state, step_key_heads(a))};
  op.sequences.start = a.start.as<int32_t>(), op.sequences.slots = a.slots.as<int32_t>();
  op.qkv = InputRows<X>(a.qkv), op.z = InputRows<X>(a.z), op.a = InputRows<X>(a.a), op.b = InputRows<X>(a.b);
  op.y = gdn::make_row_view(a.y), op.ring = Ring(a.conv_ring);
  op.weight = a.conv_weight.as<X>(), op.norm_weight = a.norm_weight.as<X>();
  op.A_log = gdn::make_row_view(a.A_log), op.dt_bias = gdn::make_row_view(a.dt_bias);
  op.scale = a.scale, op.l2_eps = a.l2_eps, op.norm_eps = a.norm_eps, op.top_beta = a.allow_neg_eigval ? 2.0f : 1.0f;
  return launch_append<1>(ctx, op, a.state.s.dtype, a.slots.dim(0));
}

}  // namespace

Status gdn_step_tma(Context& ctx, const GdnStepArgs& a, std::byte*) {
  return a.qkv.dtype == DType::kBF16 ? step<Bf16>(ctx, a) : step<float>(ctx, a);
}

}  // namespace sluice
