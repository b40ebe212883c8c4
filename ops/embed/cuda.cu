// A warp has 256 neighbouring elements of a row, 8 a thread. Bound by memory, and for few rows by its latency.
#include <cmath>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/embed/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kOfWarp = kWarp * kRun;

struct Embed {
  const int32_t* ids;
  const void* table;
  float* out;
  int64_t table_row, out_row, rows, tokens, length, warps_of_row;
};

template <class W, bool kWide>
__global__ void __launch_bounds__(kThreads) embed_kernel(const __grid_constant__ Embed a) {
  wait_for_previous_kernel();
  const int64_t i = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp, t = divide(i, a.warps_of_row);
  if (t >= a.tokens) return;
  const int64_t d = (i - t * a.warps_of_row) * kOfWarp + threadIdx.x % kWarp * kRun, id = a.ids[t];
  const int n = int(min(max(a.length - d, int64_t(0)), int64_t(kRun)));
  const bool known = id >= 0 && id < a.rows;
  const Run<W> run = load_run(static_cast<const W*>(a.table) + id * a.table_row + d, known ? n : 0, kWide);
  float x[kRun];
#pragma unroll
  for (int j = 0; j < kRun; ++j) x[j] = known ? run[j] : NAN;
  store_run(a.out + t * a.out_row + d, x, n, kWide);
}

}  // namespace

Status embed_cuda(Context& ctx, const EmbedArgs& args, std::byte*) {
  Embed a{.ids = args.ids.as<int32_t>(),
          .table = args.table.data,
          .out = args.out.as<float>(),
          .table_row = args.table.stride[0],
          .out_row = args.out.stride[0],
          .rows = args.table.shape[0],
          .tokens = args.ids.shape[0],
          .length = args.table.shape[1]};
  a.warps_of_row = ceil_div(a.length, int64_t(kOfWarp));
  if (a.length == 0) return {};
  const bool wide = a.length % kRun == 0 && wide_runs(args.table) && wide_runs(args.out);
  const LaunchShape shape{
      .grid = unsigned(ceil_div(a.tokens * a.warps_of_row, int64_t(kWarps))), .block = kThreads, .dependent = true};
  return visit_float(args.table, [&]<class W>(W*) {
    return wide ? launch(ctx, embed_kernel<W, true>, shape, a) : launch(ctx, embed_kernel<W, false>, shape, a);
  });
}

}  // namespace sluice
