// A token's cosines and sines are computed once in shared memory, by the threads that then turn its heads with them. Angles and
// their reduction by pi/2 are fp64, the polynomials behind that fp32. A thread's first elements are on their way meanwhile. Bound
// by memory.
#include <algorithm>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/rope/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

// Queries or keys; strides in elements. A head is cut into items of two runs: 8 pairs that turn, or 16 elements that are copied.
struct HeadsView {
  const void* in = nullptr;
  void* out = nullptr;
  int64_t in_token = 0, in_head = 0, out_token = 0, out_head = 0;
  int heads = 0, dim = 0, items = 0;  // items: of a head

  HeadsView() = default;
  HeadsView(const Tensor& x, const Tensor& y, int pairs)
      : in(x.data),
        out(y.data),
        in_token(x.stride[0]),
        in_head(x.stride[1]),
        out_token(y.stride[0]),
        out_head(y.stride[1]),
        heads(int(x.shape[1])),
        dim(int(x.shape[2])) {
    const int copied = x.data == y.data ? 0 : dim - 2 * pairs;
    items = (pairs + kRun - 1) / kRun + (copied + 2 * kRun - 1) / (2 * kRun);
  }
};

struct RopeCall {
  HeadsView q, k;
  const int32_t* positions;
  int64_t axis_stride, token_stride, tokens;
  const double* inv_freq;
  int pairs, sections[3];
  bool mrope, interleaved;
  float factor;
  int group;        // threads of a token
  int parts, part;  // blocks that share a token's items, items of each

  __device__ int64_t position(int64_t t, int i) const {
    const int axis = mrope && i % 3 != 0 && i < 3 * sections[i % 3] ? i % 3 : 0;
    return positions[axis * axis_stride + t * token_stride];
  }
};

// Cosine and sine by the rest of x after n quarter turns. pi / 2 in two parts of fp64, of which a fused multiply-add keeps every
// bit; the polynomials are those of Cephes (S. Moshier), 1 ulp in [-pi/4, pi/4].
__device__ float2 cosine_and_sine(double x) {
  constexpr double kTwoOverPi = 0.63661977236758134308, kHalfPi = 1.57079632679489661923, kHalfPiRest = 6.12323399573676603587e-17;
  const double n = rint(x * kTwoOverPi);
  const float r = float(fma(-n, kHalfPiRest, fma(-n, kHalfPi, x))), r2 = r * r;
  float s = fmaf(r2, -1.9515295891e-4f, 8.3321608736e-3f);
  s = fmaf(s, r2, -1.6666654611e-1f);
  s = fmaf(s * r2, r, r);
  float c = fmaf(r2, 2.443315711809948e-5f, -1.388731625493765e-3f);
  c = fmaf(c, r2, 4.166664568298827e-2f);
  c = fmaf(c, r2 * r2, fmaf(r2, -0.5f, 1.0f));
  const int64_t quadrant = __double2ll_rn(n);
  const float cosine = quadrant & 1 ? s : c, sine = quadrant & 1 ? c : s;
  return make_float2((quadrant + 1) & 2 ? -cosine : cosine, quadrant & 2 ? -sine : sine);
}

// Two runs of a head, the pairs that they hold or none, and where they lie.
template <bool kWide, class X, class Y>
struct Item {
  Run<X> first, second;
  Y* out;
  int at[2], n[2];  // offsets in the head, and lengths, of the runs
  int pair;         // the first; -1: a copy

  __device__ void load(const RopeCall& call, int64_t t, int item) {
    const int of_q = call.q.heads * call.q.items;
    const bool is_q = item < of_q;
    const HeadsView& x = is_q ? call.q : call.k;
    const int index = is_q ? item : item - of_q, head = index / x.items, in_head = index - head * x.items;
    const int turns = (call.pairs + kRun - 1) / kRun;
    if (in_head < turns) {
      pair = in_head * kRun;
      const int pairs = min(call.pairs - pair, kRun);
      if (call.interleaved) place(2 * pair, min(2 * pairs, kRun), 2 * pair + kRun, max(2 * pairs - kRun, 0));
      else place(pair, pairs, pair + call.pairs, pairs);
    } else {
      pair = -1;
      const int begin = 2 * call.pairs + (in_head - turns) * 2 * kRun, left = x.dim - begin;
      place(begin, min(left, kRun), begin + kRun, max(min(left - kRun, kRun), 0));
    }
    const X* in = static_cast<const X*>(x.in) + t * x.in_token + head * x.in_head;
    out = static_cast<Y*>(x.out) + t * x.out_token + head * x.out_head;
    first = load_run(in + at[0], n[0], kWide), second = load_run(in + at[1], n[1], kWide);
  }
  __device__ void store(const RopeCall& call, const float* cosine, const float* sine) const {
    float a[kRun], b[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) a[i] = first[i], b[i] = second[i];
    if (pair >= 0) {
      if (call.interleaved) {
#pragma unroll
        for (int i = 0; i < kRun; i += 2) {
          turn(a[i], a[i + 1], cosine[pair + i / 2], sine[pair + i / 2]);
          turn(b[i], b[i + 1], cosine[pair + (kRun + i) / 2], sine[pair + (kRun + i) / 2]);
        }
      } else {
#pragma unroll
        for (int i = 0; i < kRun; ++i) turn(a[i], b[i], cosine[pair + i], sine[pair + i]);
      }
    }
    store_run(out + at[0], a, n[0], kWide);
    store_run(out + at[1], b, n[1], kWide);
  }

 private:
  __device__ void place(int a, int n_a, int b, int n_b) { at[0] = a, n[0] = n_a, at[1] = b, n[1] = n_b; }
  __device__ static void turn(float& x1, float& x2, float cosine, float sine) {
    const float y1 = fmaf(-x2, sine, x1 * cosine), y2 = fmaf(x1, sine, x2 * cosine);
    x1 = y1, x2 = y2;
  }
};

template <bool kWide, class X, class Y>
__global__ void __launch_bounds__(kThreads) rope_kernel(const __grid_constant__ RopeCall call) {
  extern __shared__ float table[];
  const int lane = threadIdx.x % call.group, slot = threadIdx.x / call.group, length = (call.pairs + kRun - 1) / kRun * kRun;
  float *cosine = table + slot * 2 * length, *sine = cosine + length;
  const int64_t t = blockIdx.x / call.parts * (kThreads / call.group) + slot;
  const int begin = blockIdx.x % call.parts * call.part + lane;
  const int end = t < call.tokens
                      ? min(int(blockIdx.x % call.parts + 1) * call.part, call.q.heads * call.q.items + call.k.heads * call.k.items)
                      : 0;
  double frequency = lane < call.pairs ? call.inv_freq[lane] : 0;
  wait_for_previous_kernel();
  Item<kWide, X, Y> item;
  if (begin < end) item.load(call, t, begin);
  if (t < call.tokens)
    for (int i = lane; i < length; i += call.group) {
      if (i != lane) frequency = i < call.pairs ? call.inv_freq[i] : 0;
      const float2 turn = cosine_and_sine(double(i < call.pairs ? call.position(t, i) : 0) * frequency);
      cosine[i] = turn.x * call.factor, sine[i] = turn.y * call.factor;
    }
  __syncthreads();
  if (begin < end) item.store(call, cosine, sine);
#pragma unroll 1
  for (int i = begin + call.group; i < end; i += call.group) {
    item.load(call, t, i);
    item.store(call, cosine, sine);
  }
}

RopeCall call_of(const RopeArgs& a) {
  const bool mrope = a.positions.rank == 2;
  return {.positions = static_cast<const int32_t*>(a.positions.data),
          .axis_stride = mrope ? a.positions.stride[0] : 0,
          .token_stride = a.positions.stride[mrope ? 1 : 0],
          .tokens = a.positions.shape[mrope ? 1 : 0],
          .inv_freq = a.inv_freq.as<double>(),
          .pairs = int(a.inv_freq.shape[0]),
          .sections = {a.mrope_section[0], a.mrope_section[1], a.mrope_section[2]},
          .mrope = mrope,
          .interleaved = a.style == RopeStyle::kInterleaved,
          .factor = a.cos_sin_factor};
}

// Threads by the items of a token: one each, or two where tokens are enough to keep every multiprocessor busy.
LaunchShape divide(const Context& ctx, RopeCall& call) {
  const int64_t items = int64_t(call.q.heads) * call.q.items + int64_t(call.k.heads) * call.k.items;
  const int each = call.tokens * items > int64_t(ctx.gpu->sms) * 4 * kThreads ? 2 : 1;
  call.group = kWarp;
  while (call.group < kThreads && int64_t(call.group) * each < items) call.group *= 2;
  const int64_t part = int64_t(call.group) * each;
  call.parts = int(std::max<int64_t>((items + part - 1) / part, 1)), call.part = int(part);
  const int64_t at_once = kThreads / call.group;
  return {.grid = unsigned((call.tokens + at_once - 1) / at_once * call.parts),
          .block = kThreads,
          .shared = size_t(at_once * 2 * round_up(call.pairs, kRun)) * sizeof(float),
          .dependent = true};
}

// q and k of one type in, one type out; either may be missing.
Status turn_heads(Context& ctx, const RopeArgs& a, bool with_q, bool with_k) {
  RopeCall call = call_of(a);
  bool wide = call.pairs % kRun == 0;
  const auto view = [&](const Tensor& x, const Tensor& y) {
    wide = wide && x.shape[2] % kRun == 0 && wide_runs(x) && wide_runs(y);
    return HeadsView(x, y, call.pairs);
  };
  if (with_q) call.q = view(a.q, a.q_out);
  if (with_k) call.k = view(a.k, a.k_out);
  const LaunchShape shape = divide(ctx, call);
  return visit_float(with_q ? a.q : a.k, [&]<class X>(X*) {
    return visit_float(with_q ? a.q_out : a.k_out, [&]<class Y>(Y*) {
      return wide ? launch(ctx, rope_kernel<true, X, Y>, shape, call) : launch(ctx, rope_kernel<false, X, Y>, shape, call);
    });
  });
}

}  // namespace

Status rope_cuda(Context& ctx, const RopeArgs& a, std::byte*) {
  const bool q = a.q.present(), k = a.k.present();
  if (q && k && (a.q.dtype != a.k.dtype || a.q_out.dtype != a.k_out.dtype)) {
    SLUICE_RETURN_IF_ERROR(turn_heads(ctx, a, true, false));
    return turn_heads(ctx, a, false, true);
  }
  return turn_heads(ctx, a, q, k);
}

}  // namespace sluice
