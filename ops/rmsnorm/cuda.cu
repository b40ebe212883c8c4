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

constexpr int kBlockWarps = 8, kMostWarps = 16;  // of several short rows; of a long one
constexpr int kMostChunks = 4;                   // of a warp, of rows that have more chunks than kMostWarps

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
  __device__ int64_t offset(uint32_t o, uint32_t i) const { return o * outer + i * inner; }
  template <class T>
  __device__ T* at(uint32_t o, uint32_t i) const {
    return static_cast<T*>(data) + offset(o, i);
  }
  __device__ void prefetch(int64_t d) const { ptx::prefetch_l2(static_cast<const char*>(data) + d * (bf16 ? 2 : 4)); }
};

struct Norm {
  FloatRows x, residual, weight, y, residual_out;
  GroupsView quantised;
  uint32_t rows, heads;  // heads: rows of an outer index
  Divider by_heads;
  int length;
  float eps, weight_offset, reciprocal_of_length;
  bool norm_rounded_sum, round_normed, quantise_bf16;
};

// Elements of a type that is only known at run time, read one by one: of rows that 16 bytes do not divide.
struct Any {};
template <class T>
using RunOf = Run<std::conditional_t<std::is_same_v<T, Any>, float, T>>;

// The first n elements from `at` on, zeros behind.
template <class T>
__device__ RunOf<T> load(const FloatRows& v, int64_t at, int n) {
  if constexpr (!std::is_same_v<T, Any>) {
    return n > 0 ? load_wide(static_cast<const T*>(v.data) + at) : Run<T>();
  } else {
    Run<float> run;
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      if (i < n)
        run.set(i,
                v.bf16 ? to_float(static_cast<const Bf16*>(v.data)[at + i]) : to_float(static_cast<const float*>(v.data)[at + i]));
    return run;
  }
}

template <bool kWide>
__device__ void store(const FloatRows& v, uint32_t outer, uint32_t inner, int d, const float (&x)[kRun], int n) {
  if (v.bf16) store_run(v.at<Bf16>(outer, inner) + d, x, n, kWide);
  else store_run(v.at<float>(outer, inner) + d, x, n, kWide);
}

// In pairs: the conversion of one number is a slow instruction.
__device__ inline void round_to_bf16(float (&x)[kRun]) {
#pragma unroll
  for (int i = 0; i < kRun; i += 2) {
    const uint32_t pair = ptx::pack_bf16(x[i], x[i + 1]);
    x[i] = __uint_as_float(pair << 16), x[i + 1] = __uint_as_float(pair & 0xffff0000u);
  }
}

__device__ inline float rsqrt_of_mean(const Norm& a, float sum) { return rsqrtf(fmaf(sum, a.reciprocal_of_length, a.eps)); }

// A weight's factors, the offset added.
struct Factors {
  float of[kRun];

  Factors() = default;
  template <class W>
  __device__ Factors(const Norm& a, const Run<W>& weight) {
#pragma unroll
    for (int i = 0; i < kRun; ++i) of[i] = a.weight_offset + weight[i];
  }
};

// x = x * scale * (offset + weight)
__device__ void apply(const Norm& a, float scale, const Factors& weight, float (&x)[kRun]) {
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] *= scale;
  if (a.round_normed) round_to_bf16(x);
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] *= weight.of[i];
}

// Row r's indices.
struct Row {
  uint32_t outer, inner;
  __device__ Row(const Norm& a, uint32_t r) : outer(a.by_heads.divide(r)), inner(r - outer * a.heads) {}
};

// Sums of a row's chunks, of which the row's threads get the total. First a chunk's threads are added, in one tree, then four
// chunks after four: how many warps share a row does not matter.
template <int kChunks>
class RowSum {
 public:
  __device__ explicit RowSum(float4* of_fours) : of_fours_(of_fours + threadIdx.z * fours()) {}
  // A thread's sums of its chunks.
  __device__ void put(float (&x)[kChunks]) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) x[c] = group_sum(x[c]);
    only_ = x[0];
    if (alone()) return;
    float* of_chunk = reinterpret_cast<float*>(of_fours_);
#pragma unroll
    for (int c = 0; c < kChunks; ++c)
      if (threadIdx.x == 0) of_chunk[c * blockDim.y + threadIdx.y] = x[c];
    if (threadIdx.y == 0 && int(threadIdx.x) < 4 * fours() - chunks()) of_chunk[chunks() + threadIdx.x] = 0;
  }
  __device__ float total() const {
    if (alone()) return only_;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < fours(); ++i) {
      const float4 v = of_fours_[i];
      sum += (v.x + v.y) + (v.z + v.w);
    }
    return sum;
  }

 private:
  __device__ static int chunks() { return int(blockDim.y) * kChunks; }
  __device__ static int fours() { return (chunks() + 3) / 4; }
  __device__ static bool alone() { return kChunks == 1 && blockDim.y == 1; }

  float4* of_fours_;
  float only_ = 0;
};

// Registers of a thread.
template <class X, int kChunks>
constexpr int kRegistersOf = std::is_same_v<X, Any> || kChunks > 2 ? 128 : 64;

// Threads: of a warp, warps of a row, rows of the block.
template <class X, class R, class W, int kChunks>
__global__ void __maxnreg__((kRegistersOf<X, kChunks>)) rmsnorm_kernel(const __grid_constant__ Norm a) {
  constexpr bool kWide = !std::is_same_v<X, Any>, kOne = kChunks == 1;
  __shared__ float4 of_fours[kMostWarps * kMostChunks / 4];
  const uint32_t r = blockIdx.x * blockDim.z + threadIdx.z;
  const Row row(a, min(r, a.rows - 1));
  const auto begin_of = [&](int c) { return int(threadIdx.y + c * blockDim.y) * kChunkElements; };
  const auto first_of = [&](int c, int half) { return begin_of(c) + run_of_half(half); };
  const auto in_row = [&](int d) { return min(max(a.length - d, 0), kRun); };
  const auto load_weight = [&](int c, int half) {
    return Factors(a, load<W>(a.weight, first_of(c, half), in_row(first_of(c, half))));
  };
  Factors weight[kChunks][kHalves];
#pragma unroll
  for (int c = 0; c < kChunks; ++c)
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      if constexpr (kOne) weight[c][half] = load_weight(c, half);
      else if (in_row(first_of(c, half)) > 0) a.weight.prefetch(first_of(c, half));  // registers hold no more
    }

  const auto here = [&](int d) { return r < a.rows ? in_row(d) : 0; };
  const int64_t x_at = ptx::opaque(a.x.offset(row.outer, row.inner)),
                residual_at = ptx::opaque(a.residual.offset(row.outer, row.inner));
  int n_first[kHalves];  // of the first chunk
#pragma unroll
  for (int half = 0; half < kHalves; ++half) n_first[half] = ptx::opaque(here(first_of(0, half)));

  wait_for_previous_kernel();
  float s[kChunks][kHalves][kRun], squares[kChunks] = {};
  const auto store_sum = [&](int c) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half)
      if (a.residual_out.data)
        store<kWide>(a.residual_out, row.outer, row.inner, first_of(c, half), s[c][half], here(first_of(c, half)));
  };
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    RunOf<X> x[kHalves];
    RunOf<R> residual[kHalves];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int d = first_of(c, half), n = c == 0 ? n_first[half] : here(d);
      x[half] = load<X>(a.x, x_at + d, n);
      residual[half] = load<R>(a.residual, residual_at + d, a.residual.data ? n : 0);
    }
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int i = 0; i < kRun; ++i) s[c][half][i] = a.residual.data ? x[half][i] + residual[half][i] : x[half][i];
      if (a.norm_rounded_sum) round_to_bf16(s[c][half]);
#pragma unroll
      for (int i = 0; i < kRun; ++i) squares[c] = fmaf(s[c][half][i], s[c][half][i], squares[c]);
    }
    if (!kOne) store_sum(c);  // registers do not hold all reads of so long a row
  }
  RowSum<kChunks> sum(of_fours);
  sum.put(squares);
  if (kOne) store_sum(0);  // while the row's other warps come
  const float scale = rsqrt_of_mean(a, sum.total());

#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float(&y)[kRun] = s[c][half];
      apply(a, scale, kOne ? weight[c][half] : load_weight(c, half), y);
      const int d = first_of(c, half);
      if (a.y.data) store<kWide>(a.y, row.outer, row.inner, d, y, here(d));
      if (a.quantise_bf16) round_to_bf16(y);
    }
    if (a.quantised.q) {
      const Chunk chunk{.outer = row.outer, .inner = row.inner, .begin = begin_of(c), .here = r < a.rows};
      quantise_chunk<kWide>(a.quantised, chunk, [&](int half, int i) { return s[c][half][i]; });
    }
  }
}

constexpr int kShortThreads = 256, kShortRows = 4;  // rows: of a thread

// Rows of up to 8 * kLanes elements.
template <class X, int kLanes>
__global__ void __launch_bounds__(kShortThreads, sizeof(X) == 4 ? 3 : 4) rmsnorm_short_kernel(const __grid_constant__ Norm a) {
  constexpr int kTogether = kShortThreads / kLanes;  // rows of a block at once
  const int d = threadIdx.x % kLanes * kRun;
  const uint32_t first = blockIdx.x * (kTogether * kShortRows) + threadIdx.x / kLanes;
  const int n = d < a.length ? kRun : 0;
  Run<float> weight;
  if (a.weight.bf16) {
    const Run<Bf16> stored = load<Bf16>(a.weight, d, n);
#pragma unroll
    for (int i = 0; i < kRun; ++i) weight.set(i, stored[i]);
  } else {
    weight = load<float>(a.weight, d, n);
  }

  const Factors factors(a, weight);

  wait_for_previous_kernel();
  Run<X> x[kShortRows];
#pragma unroll
  for (int j = 0; j < kShortRows; ++j) {
    const uint32_t r = first + j * kTogether;
    const Row row(a, min(r, a.rows - 1));
    x[j] = load<X>(a.x, a.x.offset(row.outer, row.inner) + d, r < a.rows ? n : 0);
  }
#pragma unroll
  for (int j = 0; j < kShortRows; ++j) {
    float squares = 0, y[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) y[i] = x[j][i], squares = fmaf(y[i], y[i], squares);
    apply(a, rsqrt_of_mean(a, group_sum<kLanes>(squares)), factors, y);
    const uint32_t r = first + j * kTogether;
    const Row row(a, min(r, a.rows - 1));
    store<true>(a.y, row.outer, row.inner, d, y, r < a.rows ? n : 0);
  }
}

Norm norm_of(const RmsnormArgs& a, int64_t rows) {
  const int64_t heads = a.x.rank == 3 ? a.x.shape[1] : rows;
  Norm norm{.x = FloatRows(a.x),
            .residual = FloatRows(a.residual),
            .weight = FloatRows(a.weight),
            .y = FloatRows(a.y),
            .residual_out = FloatRows(a.residual_out),
            .rows = uint32_t(rows),
            .heads = uint32_t(heads),
            .by_heads = Divider(heads),
            .length = int(a.x.shape[a.x.rank - 1]),
            .eps = a.eps,
            .weight_offset = a.weight_offset,
            .reciprocal_of_length = float(1.0 / double(a.x.shape[a.x.rank - 1])),
            .norm_rounded_sum = a.norm_rounded_sum && a.residual_out.present() && a.residual_out.dtype == DType::kBF16,
            .round_normed = a.round_normed};
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
  const int64_t all = ceil_div(norm.length, kChunkElements), chunks = all <= kMostWarps       ? 1
                                                                      : all <= 2 * kMostWarps ? 2
                                                                                              : kMostChunks;
  const unsigned warps = unsigned(ceil_div(all, chunks)), rows = warps < kBlockWarps ? kBlockWarps / warps : 1;
  const LaunchShape shape{.grid = unsigned(ceil_div(norm.rows, rows)), .block = {kWarp, warps, rows}, .dependent = true};
  if (chunks == kMostChunks) return launch(ctx, rmsnorm_kernel<X, R, W, kMostChunks>, shape, norm);
  return chunks == 2 ? launch(ctx, rmsnorm_kernel<X, R, W, 2>, shape, norm) : launch(ctx, rmsnorm_kernel<X, R, W, 1>, shape, norm);
}

}  // namespace

Status rmsnorm_cuda(Context& ctx, const RmsnormArgs& a, std::byte*) {
  const int64_t rows = a.x.shape[0] * (a.x.rank == 3 ? a.x.shape[1] : 1);
  if (rows == 0 || a.x.shape[a.x.rank - 1] == 0) return {};
  const Norm norm = norm_of(a, rows);
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
