// Rows of 128 of which 64 are turned stay in registers from reading to writing. Four neighbouring threads of a warp have a query
// row, with four 16-byte reads on their way each; sixteen a key's, of which there are few, and whose norm is a chain of sums.
// Blocks of keys are in front of those of queries.
#include "core/cuda/launch.h"
#include "ops/indexer_prepare/any_width.cuh"
#include "ops/indexer_prepare/row128.cuh"
#include "ops/indexer_prepare/rows.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128;
// Of a multiprocessor at once: 64 KB of bf16 on their way, more of fp32.
template <class X>
constexpr int kBlocks = sizeof(X) == 4 ? 7 : 8;
constexpr int kQueryLanes = 4, kQueryRows = kThreads / kQueryLanes;
constexpr int kKeyLanes = 16, kKeyRows = kThreads / kKeyLanes;

// Threads behind the last row compute it once more and write nothing: all of a warp exchange numbers.
template <bool kWide, class X, class Y>
__device__ void prepare_queries(const Prepare& p, int64_t r) {
  const PreparedQueries& q = p.q;
  const bool here = r < q.x.count;
  const RowPlace place(here ? r : q.x.count - 1, q.x.inner);
  Row128<kWide, kQueryLanes> row;
  const bool first = here && row.lane() == 0;
  const float weight = first && q.weights.present() ? q.weights.number(place.outer, place.inner) : 0;
  row.load(q.x.row<X>(place));
  row.turn(p.cos_sin_of(place.outer), p.interleaved, p.hadamard);
  float scale = 1;
  if constexpr (sizeof(Y) == 1) {
    scale = row.scale(p.rounding);
    if (here) row.store_codes(q.out.row<Y>(place), 1 / scale);
  } else {
    if (here) row.store(q.out.row<Y>(place));
  }
  if (first && q.scale.present()) q.scale.put(place.outer, place.inner, scale);
  if (first && q.weights.present()) q.gate.put(place.outer, place.inner, weight * q.gate_factor * scale);
}

template <class W, bool kWide>
__device__ void scale_and_shift(const PreparedKeys& k, Row128<kWide, kKeyLanes>& row, float factor) {
  const Run<W> weight = row.run_at(static_cast<const W*>(k.norm_weight), 0),
               bias = row.run_at(static_cast<const W*>(k.norm_bias), 0);
#pragma unroll
  for (int i = 0; i < kRun; ++i) row.x[0][i] = fmaf(row.x[0][i] * factor, weight[i], bias[i]);
}

// Sums over a thread's run, then over the row's threads.
template <bool kWide>
__device__ void normalise(const Prepare& p, Row128<kWide, kKeyLanes>& row) {
  auto& x = row.x[0];
  float sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < kRun; ++i) sum += x[i];
  const float mean = group_sum<kKeyLanes>(sum) * (1.0f / kIndexDim);
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] -= mean, squares = fmaf(x[i], x[i], squares);
  const float factor = rsqrtf(group_sum<kKeyLanes>(squares) * (1.0f / kIndexDim) + p.eps);
  if (p.k.norm_type == DType::kBF16) scale_and_shift<Bf16>(p.k, row, factor);
  else scale_and_shift<float>(p.k, row, factor);
}

template <bool kWide>
__device__ void prepare_keys(const Prepare& p, int64_t r) {
  const PreparedKeys& k = p.k;
  const bool here = r < k.x.count;
  const RowPlace place(here ? r : k.x.count - 1, 1);
  const int64_t loc = here && k.cache ? k.loc.integer(place.outer) : -1;
  Row128<kWide, kKeyLanes> row;
  if (k.x_type == DType::kBF16) row.load(k.x.row<Bf16>(place));
  else row.load(k.x.row<float>(place));
  normalise(p, row);
  row.turn(p.cos_sin_of(place.outer), p.interleaved, p.hadamard);
  const float scale = row.scale(p.rounding);
  if (here && k.out.data && k.out_type == DType::kBF16) row.store(k.out.row<Bf16>(place));
  if (here && k.out.data && k.out_type == DType::kF32) row.store(k.out.row<float>(place));
  if (!k.layout.holds(loc)) return;
  row.store_codes(k.codes(loc), 1 / scale);
  if (row.lane() == 0) *k.scale(loc) = scale;
}

template <bool kWide, class X, class Y>
__global__ void __launch_bounds__(kThreads, kBlocks<X>) indexer_prepare_kernel(const __grid_constant__ Prepare p) {
  wait_for_previous_kernel();
  const int64_t block = int64_t(blockIdx.x) - p.key_blocks;
  if (block < 0) prepare_keys<kWide>(p, int64_t(blockIdx.x) * kKeyRows + threadIdx.x / kKeyLanes);
  else prepare_queries<kWide, X, Y>(p, block * kQueryRows + threadIdx.x / kQueryLanes);
}

// Whether all runs may be accessed 16 bytes at a time, and codes 8.
bool has_wide_runs(const IndexerPrepareArgs& a) {
  constexpr uintptr_t kCodes = 8;  // bytes of a run's codes
  bool wide = wide_runs(a.cos_sin);
  for (const Tensor* t : {&a.q.x, &a.q.out, &a.k.x, &a.k.norm_weight, &a.k.norm_bias, &a.k.out}) wide = wide && wide_runs(*t);
  if (a.k.cache.present())
    wide = wide && reinterpret_cast<uintptr_t>(a.k.cache.data) % kCodes == 0 && uint64_t(a.k.cache.stride[0]) % kCodes == 0;
  return wide;
}

template <class X, class Y>
Status launch_rows(const Context& ctx, const IndexerPrepareArgs& a, Prepare p) {
  p.key_blocks = (p.k.x.count + kKeyRows - 1) / kKeyRows;
  const int64_t query_blocks = (p.q.x.count + kQueryRows - 1) / kQueryRows;
  const LaunchShape shape{.grid = unsigned(p.key_blocks + query_blocks), .block = kThreads, .dependent = true};
  return has_wide_runs(a) ? launch(ctx, indexer_prepare_kernel<true, X, Y>, shape, p)
                          : launch(ctx, indexer_prepare_kernel<false, X, Y>, shape, p);
}

}  // namespace

Status indexer_prepare_cuda(Context& ctx, const IndexerPrepareArgs& a, std::byte*) {
  const Prepare p = prepare_of(a);
  if (p.dim != kIndexDim || p.rotary_dim != kRotary) return prepare_any_width(ctx, p);
  return visit_float(a.q.x, [&]<class X>(X*) {
    if (a.q.out.dtype == DType::kF8E4M3) return launch_rows<X, F8E4M3>(ctx, a, p);
    return visit_float(a.q.out, [&]<class Y>(Y*) { return launch_rows<X, Y>(ctx, a, p); });
  });
}

}  // namespace sluice
