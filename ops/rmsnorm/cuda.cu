// A row has one or more warps, and each of these one or more chunks of 512 elements, whose sums stay in registers: what comes in is
// read once. Rows of up to 512 elements share a block; short rows without a sum or codes, as attention's heads are, have a kernel
// of their own, in which a thread takes four rows. Weights are read ahead of the wait for the kernel before. Bound by memory.
#include <climits>
#include <type_traits>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "ops/group_quant/quantise.cuh"
#include "ops/rmsnorm/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kBlockWarps = 8;                   // where a warp has up to 2 chunks: of a long row, or of several short ones
constexpr int kMostChunks = 4, kMostWarps = 16;  // of a warp; of a block whose warps have that many

// A tensor's rows, numbered by an outer and an inner index, as GroupsView's. Strides in elements.
struct FloatRows {
  void* data = nullptr;  // null: absent
  int64_t outer = 0, inner = 0;
  bool bf16 = false;

  FloatRows() = default;
  explicit FloatRows(const Tensor& t) : data(t.data), bf16(t.dtype == DType::kBF16) {
    if (!t.present()) data = nullptr;
    else if (t.rank == 3) outer = t.stride[0], inner = t.stride[1];
    else if (t.rank == 2) inner = t.stride[0];
  }
  template <class T>
  __device__ T* at(int64_t o, int64_t i) const {
    return static_cast<T*>(data) + o * outer + i * inner;
  }
  __device__ void prefetch(int64_t d) const { ptx::prefetch_l2(static_cast<const char*>(data) + d * (bf16 ? 2 : 4)); }
};

struct Norm {
  FloatRows x, residual, weight, y, residual_out;
  GroupsView quantised;
  int64_t rows, heads, length;  // heads: rows of an outer index
  float eps, weight_offset;
  bool norm_rounded_sum, round_normed, quantise_bf16;
};

// Elements of a type that is only known at run time, read one by one: of rows that 16 bytes do not divide.
struct Any {};
template <class T>
using RunOf = Run<std::conditional_t<std::is_same_v<T, Any>, float, T>>;

template <class T>
__device__ RunOf<T> load(const FloatRows& v, int64_t outer, int64_t inner, int64_t d, int n) {
  if constexpr (!std::is_same_v<T, Any>) {
    return load_run(v.at<const T>(outer, inner) + d, n, true);
  } else {
    Run<float> run;
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      if (i < n) run.set(i, v.bf16 ? to_float(v.at<const Bf16>(outer, inner)[d + i]) : v.at<const float>(outer, inner)[d + i]);
    return run;
  }
}

template <bool kWide>
__device__ void store(const FloatRows& v, int64_t outer, int64_t inner, int64_t d, const float (&x)[kRun], int n) {
  if (v.bf16) store_run(v.at<Bf16>(outer, inner) + d, x, n, kWide);
  else store_run(v.at<float>(outer, inner) + d, x, n, kWide);
}

__device__ inline void round_to_bf16(float (&x)[kRun]) {
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] = to_float(from_float<Bf16>(x[i]));
}

__device__ inline float rsqrt_of_mean(float sum, int64_t n, float eps) { return 1 / sqrtf(sum / float(n) + eps); }

// x = x * scale * (offset + weight)
template <class W>
__device__ void apply(const Norm& a, float scale, const Run<W>& weight, float (&x)[kRun]) {
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] *= scale;
  if (a.round_normed) round_to_bf16(x);
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] *= a.weight_offset + weight[i];
}

// Row r's indices.
struct Row {
  int64_t outer = 0, inner;
  __device__ Row(const Norm& a, int64_t r) : inner(r) {
    if (a.heads == a.rows) return;  // rank 2, or heads of one token
    outer = uint32_t(r) / uint32_t(a.heads), inner = r - outer * a.heads;
  }
};

// The sum over a row's warps, in all of its threads.
__device__ inline float row_sum(float x) {
  __shared__ float of_warps[kMostWarps];
  x = group_sum(x);
  if (blockDim.y == 1) return x;
  const unsigned first = threadIdx.z * blockDim.y;
  if (threadIdx.x == 0) of_warps[first + threadIdx.y] = x;
  __syncthreads();
  return group_sum(threadIdx.x < blockDim.y ? of_warps[first + threadIdx.x] : 0);
}

// Blocks of a multiprocessor at once, by which the registers are dealt out.
template <class X, int kChunks>
constexpr int kBlocksOf = std::is_same_v<X, Any> ? 1 : 4 / kChunks + (kChunks == 2);

// Threads: of a warp, warps of a row, rows of the block.
template <class X, class R, class W, int kChunks>
__global__ void __launch_bounds__((kChunks == kMostChunks ? kMostWarps : kBlockWarps) * kWarp, kBlocksOf<X, kChunks>)
    rmsnorm_kernel(const __grid_constant__ Norm a) {
  constexpr bool kWide = !std::is_same_v<X, Any>, kWeightFirst = kChunks == 1;
  const int64_t r = int64_t(blockIdx.x) * blockDim.z + threadIdx.z;
  const Row row(a, min(r, a.rows - 1));
  const auto begin_of = [&](int c) { return int64_t(threadIdx.y + c * blockDim.y) * kChunkElements; };
  const auto first_of = [&](int c, int half) { return begin_of(c) + run_of_half(half); };
  const auto in_row = [&](int64_t d) { return int(min(max(a.length - d, int64_t(0)), int64_t(kRun))); };
  const auto load_weight = [&](int c, int half) { return load<W>(a.weight, 0, 0, first_of(c, half), in_row(first_of(c, half))); };
  RunOf<W> weight[kChunks][kHalves];
#pragma unroll
  for (int c = 0; c < kChunks; ++c)
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      if constexpr (kWeightFirst) weight[c][half] = load_weight(c, half);
      else if (in_row(first_of(c, half)) > 0) a.weight.prefetch(first_of(c, half));  // registers hold no more
    }

  wait_for_previous_kernel();
  const auto here = [&](int64_t d) { return r < a.rows ? in_row(d) : 0; };
  float s[kChunks][kHalves][kRun], squares = 0;
  const auto keep_sum = [&](int c) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float(&sum)[kRun] = s[c][half];
      if (a.residual_out.data) {
        const int64_t d = first_of(c, half);
        store<kWide>(a.residual_out, row.outer, row.inner, d, sum, here(d));
        if (a.norm_rounded_sum && a.residual_out.bf16) round_to_bf16(sum);
      }
#pragma unroll
      for (int i = 0; i < kRun; ++i) squares = fmaf(sum[i], sum[i], squares);
    }
  };
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    RunOf<X> x[kHalves];
    RunOf<R> residual[kHalves];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int64_t d = first_of(c, half);
      x[half] = load<X>(a.x, row.outer, row.inner, d, here(d));
      residual[half] = load<R>(a.residual, row.outer, row.inner, d, a.residual.data ? here(d) : 0);
    }
#pragma unroll
    for (int half = 0; half < kHalves; ++half)
#pragma unroll
      for (int i = 0; i < kRun; ++i) s[c][half][i] = a.residual.data ? x[half][i] + residual[half][i] : x[half][i];
    if (kChunks == kMostChunks) keep_sum(c);  // registers do not hold all reads of so long a row
  }
  if (kChunks < kMostChunks) {  // behind all reads, which stores between them would hold up
#pragma unroll
    for (int c = 0; c < kChunks; ++c) keep_sum(c);
  }
  const float scale = rsqrt_of_mean(row_sum(squares), a.length, a.eps);

#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float(&y)[kRun] = s[c][half];
      apply(a, scale, kWeightFirst ? weight[c][half] : load_weight(c, half), y);
      const int64_t d = first_of(c, half);
      if (a.y.data) store<kWide>(a.y, row.outer, row.inner, d, y, here(d));
      if (a.quantise_bf16) round_to_bf16(y);
    }
    if (a.quantised.q) {
      const ChunkRows rows{.outer = row.outer, .inner = row.inner, .count = r < a.rows, .begin = begin_of(c)};
      quantise_chunk<1, kWide>(a.quantised, rows, [&](int, int half, int i) { return s[c][half][i]; });
    }
  }
}

constexpr int kShortThreads = 256, kShortBlocks = 4;  // of a multiprocessor at once
constexpr int kShortRows = 4;                         // of a thread

// Rows of up to 8 * kLanes elements.
template <class X, int kLanes>
__global__ void __launch_bounds__(kShortThreads, kShortBlocks) rmsnorm_short_kernel(const __grid_constant__ Norm a) {
  constexpr int kTogether = kShortThreads / kLanes;  // rows of a block at once
  const int64_t d = threadIdx.x % kLanes * kRun, first = int64_t(blockIdx.x) * (kTogether * kShortRows) + threadIdx.x / kLanes;
  const int n = d < a.length ? kRun : 0;
  Run<float> weight;
  if (a.weight.bf16) {
    const Run<Bf16> stored = load<Bf16>(a.weight, 0, 0, d, n);
#pragma unroll
    for (int i = 0; i < kRun; ++i) weight.set(i, stored[i]);
  } else {
    weight = load<float>(a.weight, 0, 0, d, n);
  }

  wait_for_previous_kernel();
  Run<X> x[kShortRows];
#pragma unroll
  for (int j = 0; j < kShortRows; ++j) {
    const int64_t r = first + j * kTogether;
    const Row row(a, min(r, a.rows - 1));
    x[j] = load<X>(a.x, row.outer, row.inner, d, r < a.rows ? n : 0);
  }
#pragma unroll
  for (int j = 0; j < kShortRows; ++j) {
    float squares = 0, y[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) y[i] = x[j][i], squares = fmaf(y[i], y[i], squares);
    apply(a, rsqrt_of_mean(group_sum<kLanes>(squares), a.length, a.eps), weight, y);
    const int64_t r = first + j * kTogether;
    const Row row(a, min(r, a.rows - 1));
    store<true>(a.y, row.outer, row.inner, d, y, r < a.rows ? n : 0);
  }
}

Norm norm_of(const RmsnormArgs& a) {
  Norm norm{.x = FloatRows(a.x),
            .residual = FloatRows(a.residual),
            .weight = FloatRows(a.weight),
            .y = FloatRows(a.y),
            .residual_out = FloatRows(a.residual_out),
            .heads = a.x.rank == 3 ? a.x.shape[1] : a.x.shape[0],
            .length = a.x.shape[a.x.rank - 1],
            .eps = a.eps,
            .weight_offset = a.weight_offset,
            .norm_rounded_sum = a.norm_rounded_sum,
            .round_normed = a.round_normed};
  norm.rows = a.x.rank == 3 ? a.x.shape[0] * norm.heads : norm.heads;
  if (!a.quantised.q.present()) return norm;
  norm.quantised = GroupsView(a.quantised);
  norm.quantise_bf16 = rounding_of_quantised(a).dtype == DType::kBF16;
  return norm;
}

bool has_wide_rows(const RmsnormArgs& a, const Norm& norm) {
  const bool codes = !norm.quantised.q || norm.quantised.wide;
  return norm.length % kRun == 0 && codes && wide_runs(a.x) && wide_runs(a.residual) && wide_runs(a.weight) && wide_runs(a.y) &&
         wide_runs(a.residual_out);
}

template <class X>
Status launch_short(Context& ctx, const Norm& norm) {
  const int lanes = norm.length <= 16 * kRun ? 16 : 32, rows = kShortThreads / lanes * kShortRows;
  const LaunchShape shape{.grid = unsigned(ceil_div(norm.rows, rows)), .block = kShortThreads, .dependent = true};
  return lanes == 16 ? launch(ctx, rmsnorm_short_kernel<X, 16>, shape, norm)
                     : launch(ctx, rmsnorm_short_kernel<X, 32>, shape, norm);
}

template <class X, class R, class W>
Status launch_rows(Context& ctx, const Norm& norm) {
  const int64_t all = ceil_div(norm.length, kChunkElements);
  const int chunks = all <= kBlockWarps ? 1 : all <= 2 * kBlockWarps ? 2 : kMostChunks;
  const unsigned warps = unsigned(ceil_div(all, chunks)), rows = warps < kBlockWarps ? kBlockWarps / warps : 1;
  const LaunchShape shape{.grid = unsigned(ceil_div(norm.rows, rows)), .block = {kWarp, warps, rows}, .dependent = true};
  if (chunks == 1) return launch(ctx, rmsnorm_kernel<X, R, W, 1>, shape, norm);
  return chunks == 2 ? launch(ctx, rmsnorm_kernel<X, R, W, 2>, shape, norm)
                     : launch(ctx, rmsnorm_kernel<X, R, W, kMostChunks>, shape, norm);
}

}  // namespace

Status rmsnorm_cuda(Context& ctx, const RmsnormArgs& a, std::byte*) {
  const Norm norm = norm_of(a);
  if (norm.rows == 0 || norm.length == 0) return {};
  if (!has_wide_rows(a, norm)) return launch_rows<Any, Any, Any>(ctx, norm);
  return visit_float(a.x, [&]<class X>(X*) {
    const bool alone = !norm.residual.data && !norm.residual_out.data && !norm.quantised.q;
    if (alone && norm.length <= kWarp * kRun) return launch_short<X>(ctx, norm);
    return visit_float(a.residual.present() ? a.residual : a.x, [&]<class R>(R*) {
      return visit_float(a.weight, [&]<class W>(W*) { return launch_rows<X, R, W>(ctx, norm); });
    });
  });
}

}  // namespace sluice
