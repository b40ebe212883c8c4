// A group of neighbouring threads of a warp has an output row, a token's head, and each of them runs of 8 elements. A few states
// are taken at a time, so that their reads are on their way together, with a running maximum: one pass over the values. Rows are
// numbered in 64 bits along one dimension of the grid; nothing depends on the number of heads. Bound by memory.
#include <bit>
#include <climits>
#include <cmath>
#include <type_traits>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"
#include "ops/merge_state/forms.h"
#include "ops/merge_state/states.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kTogether = 2;  // states; with more, registers hold fewer threads than it takes to keep the memory busy

// Word i of a run as it is stored.
template <class Y>
__device__ uint32_t word_of(const float (&x)[kRun], float scale, int i) {
  if constexpr (sizeof(Y) == 4) return __float_as_uint(x[i] * scale);
  else if constexpr (std::is_same_v<Y, F16>) return ptx::pack_fp16(x[2 * i] * scale, x[2 * i + 1] * scale);
  else return ptx::pack_bf16(x[2 * i] * scale, x[2 * i + 1] * scale);
}

// kRun neighbours of a row, 16 bytes to an access; 8 of fp8.
template <class T>
struct alignas(sizeof(T) == 1 ? kRun : 16) Neighbours {
  T x[kRun];
};

template <class T>
__device__ float element(const Neighbours<T>& run, int i) {
  if constexpr (std::is_same_v<T, Bf16>) {  // an instruction less than by the type's halves
    uint32_t pair;
    memcpy(&pair, &run.x[i / 2 * 2], sizeof pair);
    return __uint_as_float(i % 2 ? pair & 0xffff0000u : pair << 16);
  } else {
    return to_float(run.x[i]);
  }
}

// The first n of them, zeros behind.
template <bool kWide, class T>
__device__ Neighbours<T> load(const T* from, int n) {
  if constexpr (kWide) return *reinterpret_cast<const Neighbours<T>*>(from);
  Neighbours<T> run{};
#pragma unroll
  for (int i = 0; i < kRun; ++i)
    if (i < n) run.x[i] = from[i];
  return run;
}

template <bool kWide, class Y>
__device__ void store(Y* to, const float (&x)[kRun], float scale, int n) {
  if constexpr (kWide) {
    Run<Y> run;
#pragma unroll
    for (int i = 0; i < Run<Y>::kWords; ++i) run.word[i] = word_of<Y>(x, scale, i);
    store_wide(to, run);
  } else {
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      if (i < n) to[i] = from_float<Y>(x[i] * scale);
  }
}

// An AttentionState's memory; strides in elements.
struct StateView {
  void* v = nullptr;
  float* lse = nullptr;
  int64_t v_row = 0, v_head = 0, lse_row = 0, lse_head = 0;
  float scale = 1;

  StateView() = default;
  explicit StateView(const AttentionState& s)
      : v(s.v.data),
        v_row(s.v.stride[0]),
        v_head(s.v.stride[1]),
        lse_row(s.lse.stride[0]),
        lse_head(s.lse.stride[1]),
        scale(s.scale) {
    if (s.lse.present()) lse = s.lse.as<float>();
  }
  template <class T>
  __device__ T* value(int64_t row, int64_t head) const {
    return static_cast<T*>(v) + row * v_row + head * v_head;
  }
  __device__ float* log(int64_t row, int64_t head) const { return lse + row * lse_row + head * lse_head; }
};

struct Merge {
  StateView a, b, out;
  const int32_t* indptr;
  bool has_b;
  int64_t rows, heads, dim;
  int lanes, log_lanes;  // threads of a row, a power of two
  float b_to_a;          // logarithms of b's base to a's, in which all are compared
  float a_to_two;        // a's base to base two
  float a_to_out, two_to_out;
};

struct Place {
  int64_t token, head;

  __device__ Place(const Merge& m, int64_t row) : token(divide(row, m.heads)), head(row - token * m.heads) {}
};

__device__ float empty_as_lowest(float lse) { return lse == INFINITY ? -INFINITY : lse; }

// The states of a row, as TokenStates.
struct RowStates : Place {
  int64_t first, of_a, count;

  __device__ RowStates(const Merge& m, const Place& at) : Place(at) {
    first = m.indptr ? m.indptr[token] : token;
    of_a = m.indptr ? m.indptr[token + 1] - first : 1;
    count = of_a + m.has_b;
  }
  template <class X>
  __device__ const X* value(const Merge& m, int64_t i) const {
    return i < of_a ? m.a.value<const X>(first + i, head) : m.b.value<const X>(token, head);
  }
  __device__ float scale(const Merge& m, int64_t i) const { return i < of_a ? m.a.scale : m.b.scale; }
  __device__ float lse(const Merge& m, int64_t i) const {
    return empty_as_lowest(i < of_a ? *m.a.log(first + i, head) : *m.b.log(token, head) * m.b_to_a);
  }
};

// Of one thread's run: sums under weights 2^((lse - most) * a_to_two), which are at most 1.
struct RunningMerge {
  float most = -INFINITY, total = 0, sum[kRun] = {};

  // Makes `next` the maximum, where it is one.
  __device__ void raise(float next, float a_to_two) {
    next = fmaxf(most, next);
    const float scale = weight(most, next, a_to_two);
    most = next, total *= scale;
#pragma unroll
    for (int i = 0; i < kRun; ++i) sum[i] *= scale;
  }
  // An empty state's values count for nothing, be they NaN.
  template <class X>
  __device__ void add(float w, float scale, const Neighbours<X>& v) {
    total += w;
    if (w == 0) return;
#pragma unroll
    for (int i = 0; i < kRun; ++i) sum[i] = fmaf(w * scale, element(v, i), sum[i]);
  }
  // Without a difference of infinities.
  __device__ static float weight(float lse, float most, float a_to_two) {
    return most == -INFINITY && lse == -INFINITY ? 0 : ptx::exp2_approx((lse - most) * a_to_two);
  }
};

template <bool kWide, class X>
__device__ RunningMerge merge_run(const Merge& m, const RowStates& states, int64_t d, int n) {
  RunningMerge merge;
  for (int64_t begin = 0; begin < states.count; begin += kTogether) {
    Neighbours<X> v[kTogether] = {};
    float lse[kTogether], most = -INFINITY;
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const bool here = begin + j < states.count;
      lse[j] = here ? states.lse(m, begin + j) : -INFINITY;
      if (here) v[j] = load<kWide>(states.value<X>(m, begin + j) + d, n);
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) most = fmaxf(most, lse[j]);
    merge.raise(most, m.a_to_two);
#pragma unroll
    for (int j = 0; j < kTogether; ++j)
      merge.add(RunningMerge::weight(lse[j], merge.most, m.a_to_two), states.scale(m, begin + j), v[j]);
  }
  return merge;
}

template <bool kWide, class Y>
__device__ void store_run_of(const Merge& m, const Place& at, int64_t d, const RunningMerge& merge, int n) {
  store<kWide>(m.out.value<Y>(at.token, at.head) + d, merge.sum, merge.total == 0 ? 0 : 1 / (merge.total * m.out.scale), n);
}

__device__ float log_of(const Merge& m, float most, float total) {
  return total == 0 ? -INFINITY : most * m.a_to_out + log2f(total) * m.two_to_out;
}

// A row of no elements has a log-sum-exp all the same: its first thread comes here with n <= 0.
template <bool kWide, class X, class Y>
__device__ void merge_row(const Merge& m, const Place& at, int lane, uint32_t group) {
  const RowStates states(m, at);
  float log_of_row = -INFINITY;
  int64_t d = int64_t(lane) * kRun;
  do {
    const int n = int(min(m.dim - d, int64_t(kRun)));
    if (n <= 0 && d > 0) break;
    const RunningMerge merge = merge_run<kWide, X>(m, states, d, n);
    store_run_of<kWide, Y>(m, states, d, merge, n);
    log_of_row = log_of(m, merge.most, merge.total);
    d += int64_t(m.lanes) * kRun;
  } while (d < m.dim);
  __syncwarp(group);  // the output may be an input: all of the group have read it
  if (lane == 0 && m.out.lse) *m.out.log(states.token, states.head) = log_of_row;
}

// Two states a token, which is what most calls have, in wide runs: few registers, so that many threads' reads are on their way, and
// a thread's first reads all ahead of any use. The same arithmetic as above.
template <class X, class Y>
__device__ void merge_pair(const Merge& m, const Place& at, int lane, uint32_t group) {
  const int dim = int(m.dim);
  int d = lane * kRun;
  const X *a = m.a.value<const X>(at.token, at.head), *b = m.b.value<const X>(at.token, at.head);
  const float lse_a = *m.a.log(at.token, at.head), lse_b = *m.b.log(at.token, at.head);
  Neighbours<X> v_a{}, v_b{};
  if (d < dim) v_a = load<true>(a + d, kRun), v_b = load<true>(b + d, kRun);
  const float of_a = empty_as_lowest(lse_a), of_b = empty_as_lowest(lse_b * m.b_to_a), most = fmaxf(of_a, of_b);
  const float w_a = RunningMerge::weight(of_a, most, m.a_to_two), w_b = RunningMerge::weight(of_b, most, m.a_to_two);
  const float total = w_a + w_b, scale = total == 0 ? 0 : 1 / (total * m.out.scale);
  Y* to = m.out.value<Y>(at.token, at.head);
  while (d < dim) {
    float sum[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) {  // selects, not branches, behind which the compiler would move the reads
      sum[i] = w_a * m.a.scale * (w_a == 0 ? 0 : element(v_a, i));
      sum[i] = fmaf(w_b * m.b.scale, w_b == 0 ? 0 : element(v_b, i), sum[i]);
    }
    store<true>(to + d, sum, scale, kRun);
    d += m.lanes * kRun;
    if (d < dim) v_a = load<true>(a + d, kRun), v_b = load<true>(b + d, kRun);
  }
  __syncwarp(group);  // as above
  if (lane == 0 && m.out.lse) *m.out.log(at.token, at.head) = log_of(m, most, total);
}

// kPairs: two states a token, in wide runs.
template <bool kWide, bool kPairs, class X, class Y>
__global__ void __launch_bounds__(kThreads, kPairs                   ? (sizeof(X) == 2 ? 5 : 4)
                                            : kWide && sizeof(X) < 4 ? 4
                                                                     : 3) merge_state_kernel(const __grid_constant__ Merge m) {
  const int in_warp = int(threadIdx.x) % kWarp, lane = in_warp & (m.lanes - 1);
  const uint32_t group = (m.lanes == kWarp ? 0xffffffffu : (1u << m.lanes) - 1) << (in_warp - lane);
  const int64_t row = (int64_t(blockIdx.x) * kThreads + threadIdx.x) >> m.log_lanes;
  const Place at(m, row);
  wait_for_previous_kernel();
  if (row >= m.rows) return;
  if constexpr (kPairs) merge_pair<X, Y>(m, at, lane, group);
  else merge_row<kWide, X, Y>(m, at, lane, group);
}

bool has_wide_runs(const MergeStateArgs& args) {
  const auto wide = [](const Tensor& t) { return !t.present() || wide_runs(t); };
  return args.out.v.dim(2) % kRun == 0 && args.out.v.dim(2) > 0 && wide(args.a.v) && wide(args.b.v) && wide(args.out.v);
}

// Threads for a row: a power of two, enough for a run each, at most a warp.
int lanes_of(int64_t dim) {
  int lanes = 1;
  while (lanes < kWarp && lanes * kRun < dim) lanes *= 2;
  return lanes;
}

Merge merge_of(const MergeStateArgs& args) {
  const double a = natural_log_of(args.a.base), b = natural_log_of(args.b.base), out = natural_log_of(args.out.base);
  const Tensor& v = args.out.v;
  return {.a = StateView(args.a),
          .b = args.b.v.present() ? StateView(args.b) : StateView(),
          .out = StateView(args.out),
          .indptr = args.indptr.present() ? args.indptr.as<int32_t>() : nullptr,
          .has_b = args.b.v.present(),
          .rows = v.dim(0) * v.dim(1),
          .heads = v.dim(1),
          .dim = v.dim(2),
          .lanes = lanes_of(v.dim(2)),
          .log_lanes = std::countr_zero(unsigned(lanes_of(v.dim(2)))),
          .b_to_a = float(b / a),
          .a_to_two = float(a / kLn2),
          .a_to_out = float(a / out),
          .two_to_out = float(kLn2 / out)};
}

}  // namespace

Status merge_state_cuda(Context& ctx, const MergeStateArgs& args, std::byte*) {
  const Merge m = merge_of(args);
  const bool wide = has_wide_runs(args), pairs = wide && m.has_b && !m.indptr && m.dim <= INT_MAX / 2;
  const LaunchShape shape{.grid = unsigned(ceil_div(m.rows, kThreads / m.lanes)), .block = kThreads, .dependent = true};
  return visit_partial(args.a.v, [&]<class X>(X*) {
    return visit_value(args.out.v, [&]<class Y>(Y*) {
      if (pairs) return launch(ctx, merge_state_kernel<true, true, X, Y>, shape, m);
      return wide ? launch(ctx, merge_state_kernel<true, false, X, Y>, shape, m)
                  : launch(ctx, merge_state_kernel<false, false, X, Y>, shape, m);
    });
  });
}

}  // namespace sluice
