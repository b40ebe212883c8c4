// A warp has up to 32 runs of 8 elements of a token's keys, and the same of its values. Bound by memory, and for few tokens by the
// latency of finding the page: sequence, table entry, store.
#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/kv_append/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

// Keys or values. Strides in elements.
struct Side {
  const void* from;
  void* cache;
  int64_t row, head;                          // strides of what comes in
  int64_t cache_page, cache_row, cache_head;  // of the cache

  Side(const Tensor& x, const Tensor& cache)
      : from(x.data),
        cache(cache.data),
        row(x.stride[0]),
        head(x.stride[1]),
        cache_page(cache.stride[0]),
        cache_row(cache.stride[1]),
        cache_head(cache.stride[2]) {}
};

struct Append {
  Side k, v;
  const int32_t *cu_seqlens, *start, *block_table;
  int64_t table_row, table_pages, pages, page;
  int64_t tokens, length, warps_of_token;
  int sequences;
  Divider by_head;  // runs
  uint32_t runs, head_runs;
};

// Where a token's row lies, in pages and rows of a page.
struct Place {
  int64_t page = -1, row = 0;  // page < 0: nowhere

  __device__ Place(const Append& a, int64_t token) {
    const int b = sequence_of<kWarp>(a.cu_seqlens, a.sequences, token);
    const int64_t p = a.start[b] + token - a.cu_seqlens[b];
    if (p < 0 || token >= a.cu_seqlens[a.sequences]) return;
    const int64_t i = divide(p, a.page);
    if (i >= a.table_pages) return;
    const int32_t entry = a.block_table[b * a.table_row + i];
    if (entry >= 0 && entry < a.pages) page = entry, row = p - i * a.page;
  }
};

template <class C, bool kWide, class X>
__device__ void put(const Side& side, const Place& place, uint32_t head, int64_t d, const Run<X>& run, int n) {
  float x[kRun];
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] = run[i];
  C* to = static_cast<C*>(side.cache) + place.page * side.cache_page + place.row * side.cache_row + head * side.cache_head + d;
  store_run(to, x, n, kWide);
}

template <class X, class C, bool kWide>
__global__ void __launch_bounds__(kThreads) kv_append_kernel(const __grid_constant__ Append a) {
  wait_for_previous_kernel();
  const int64_t i = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp, token = divide(i, a.warps_of_token);
  if (token >= a.tokens) return;
  const uint32_t run = uint32_t(i - token * a.warps_of_token) * kWarp + threadIdx.x % kWarp;
  const uint32_t head = a.by_head.divide(run);
  const int64_t d = int64_t(run - head * a.head_runs) * kRun;
  const int n = run < a.runs ? int(min(a.length - d, int64_t(kRun))) : 0;
  const auto load = [&](const Side& side) {
    return load_run(static_cast<const X*>(side.from) + token * side.row + head * side.head + d, n, kWide);
  };
  const Run<X> k = load(a.k), v = load(a.v);
  const Place place(a, token);
  if (place.page < 0 || n == 0) return;
  put<C, kWide>(a.k, place, head, d, k, n);
  put<C, kWide>(a.v, place, head, d, v, n);
}

}  // namespace

Status kv_append_cuda(Context& ctx, const KvAppendArgs& args, std::byte*) {
  const int64_t heads = args.k.shape[1], length = args.k.shape[2], head_runs = ceil_div(length, int64_t(kRun));
  if (args.k.numel() == 0 || args.start.shape[0] == 0) return {};
  const Append a{.k = Side(args.k, args.k_cache),
                 .v = Side(args.v, args.v_cache),
                 .cu_seqlens = args.cu_seqlens.as<int32_t>(),
                 .start = args.start.as<int32_t>(),
                 .block_table = args.block_table.as<int32_t>(),
                 .table_row = args.block_table.stride[0],
                 .table_pages = args.block_table.shape[1],
                 .pages = args.k_cache.shape[0],
                 .page = args.k_cache.shape[1],
                 .tokens = args.k.shape[0],
                 .length = length,
                 .warps_of_token = ceil_div(heads * head_runs, int64_t(kWarp)),
                 .sequences = int(args.start.shape[0]),
                 .by_head = Divider(head_runs),
                 .runs = uint32_t(heads * head_runs),
                 .head_runs = uint32_t(head_runs)};
  const bool wide =
      length % kRun == 0 && wide_runs(args.k) && wide_runs(args.v) && wide_runs(args.k_cache) && wide_runs(args.v_cache);
  const LaunchShape shape{
      .grid = unsigned(ceil_div(a.tokens * a.warps_of_token, int64_t(kWarps))), .block = kThreads, .dependent = true};
  return visit_float(args.k, [&]<class X>(X*) {
    return visit_float(args.k_cache, [&]<class C>(C*) {
      return wide ? launch(ctx, kv_append_kernel<X, C, true>, shape, a) : launch(ctx, kv_append_kernel<X, C, false>, shape, a);
    });
  });
}

}  // namespace sluice
