// A warp has 512 elements of a row, two runs of 8 to a thread, whose gates and ups are read together. Bound by memory.
#include <algorithm>
#include <climits>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/silu_mul/forms.h"
#include "ops/silu_mul/silu.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 256, kWarps = kThreads / kWarp, kBlocks = 5;  // of a multiprocessor at once
constexpr int kRuns = 2, kApart = kWarp * kRun,
              kChunk = kRuns * kApart;  // runs of a thread, elements from one to the next, of a warp

struct SiluMul {
  const void *gate, *up;
  void* y;
  int64_t gate_row, up_row, y_row;  // strides
  int64_t length, row_chunks, chunks;
};

template <class X, class Y, bool kWide>
__global__ void __launch_bounds__(kThreads, kBlocks) silu_mul_kernel(const __grid_constant__ SiluMul a) {
  wait_for_previous_kernel();
  const int64_t step = int64_t(gridDim.x) * kWarps;
  for (int64_t chunk = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; chunk < a.chunks; chunk += step) {
    const int64_t row = divide(chunk, a.row_chunks);
    const int64_t first = (chunk - row * a.row_chunks) * kChunk + threadIdx.x % kWarp * kRun;
    Run<X> gate[kRuns], up[kRuns];
#pragma unroll
    for (int j = 0; j < kRuns; ++j) {
      const int64_t d = first + j * kApart;
      const int n = int(min(a.length - d, int64_t(kRun)));
      gate[j] = load_run(static_cast<const X*>(a.gate) + row * a.gate_row + d, n, kWide);
      up[j] = load_run(static_cast<const X*>(a.up) + row * a.up_row + d, n, kWide);
    }
#pragma unroll
    for (int j = 0; j < kRuns; ++j) {
      const int64_t d = first + j * kApart;
      float y[kRun];
#pragma unroll
      for (int i = 0; i < kRun; ++i) y[i] = silu_times(gate[j][i], up[j][i]);
      store_run(static_cast<Y*>(a.y) + row * a.y_row + d, y, int(min(a.length - d, int64_t(kRun))), kWide);
    }
  }
}

}  // namespace

Status silu_mul_cuda(Context& ctx, const SiluMulArgs& args, std::byte*) {
  SiluMul a{.gate = args.gate.data,
            .up = args.up.data,
            .y = args.y.data,
            .gate_row = args.gate.stride[0],
            .up_row = args.up.stride[0],
            .y_row = args.y.stride[0],
            .length = args.y.shape[1]};
  a.row_chunks = ceil_div(a.length, kChunk), a.chunks = args.y.shape[0] * a.row_chunks;
  const bool wide = a.length % kRun == 0 && wide_runs(args.gate) && wide_runs(args.up) && wide_runs(args.y);
  const LaunchShape shape{
      .grid = unsigned(std::min<int64_t>(ceil_div(a.chunks, kWarps), INT_MAX)), .block = kThreads, .dependent = true};
  return visit_float(args.gate, [&]<class X>(X*) {
    return visit_float(args.y, [&]<class Y>(Y*) {
      return wide ? launch(ctx, silu_mul_kernel<X, Y, true>, shape, a) : launch(ctx, silu_mul_kernel<X, Y, false>, shape, a);
    });
  });
}

}  // namespace sluice
