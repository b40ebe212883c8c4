// One to 32 neighbouring threads have a row, in their registers from reading to writing; up to four runs of 8 elements a thread,
// whose reads are on their way together.
#include <algorithm>
#include <cmath>

#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/hadamard/forms.h"
#include "ops/hadamard/hadamard.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128;

// Eight blocks of a multiprocessor have 64 KB of bf16 on their way.
template <class X, class Y, int Lanes, int Runs>
__global__ void __launch_bounds__(kThreads, 8) hadamard_kernel(RowsView x, RowsView y, float scale, bool wide) {
  wait_for_previous_kernel();
  const int64_t r = int64_t(blockIdx.x) * (kThreads / Lanes) + threadIdx.x / Lanes;
  const int64_t first = threadIdx.x % Lanes * kRun;
  const int n = r < x.count ? int(min(x.length, int64_t(kRun))) : 0;  // of each run; threads behind the last row take part
  const RowPlace place(r, x.inner);
  float v[Runs][kRun];
#pragma unroll
  for (int j = 0; j < Runs; ++j) {
    const Run<X> run = load_run(x.row<X>(place) + first + j * Lanes * kRun, n, wide);
#pragma unroll
    for (int i = 0; i < kRun; ++i) v[j][i] = run[i];
  }
  hadamard_unscaled<Lanes>(v, Lanes * Runs == 1 ? int(x.length) : kRun);
#pragma unroll
  for (int j = 0; j < Runs; ++j) {
#pragma unroll
    for (int i = 0; i < kRun; ++i) v[j][i] *= scale;
    store_run(y.row<Y>(place) + first + j * Lanes * kRun, v[j], n, wide);
  }
}

template <class X, class Y, int Lanes, int Runs>
Status launch_rows(Context& ctx, const HadamardArgs& a) {
  const RowsView x(a.x), y(a.y);
  constexpr int64_t kRows = kThreads / Lanes;  // of a block
  const bool wide = x.length % kRun == 0 && wide_runs(a.x) && wide_runs(a.y);
  const LaunchShape shape{.grid = unsigned((x.count + kRows - 1) / kRows), .block = kThreads, .dependent = true};
  return launch(ctx, hadamard_kernel<X, Y, Lanes, Runs>, shape, x, y, float(1 / std::sqrt(double(x.length))), wide);
}

template <class X, class Y>
Status launch_length(Context& ctx, const HadamardArgs& a) {
  switch (a.x.dim(a.x.rank - 1)) {
    case 1024:
      return launch_rows<X, Y, 32, 4>(ctx, a);
    case 512:
      return launch_rows<X, Y, 16, 4>(ctx, a);
    case 256:
      return launch_rows<X, Y, 8, 4>(ctx, a);
    case 128:
      return launch_rows<X, Y, 4, 4>(ctx, a);
    case 64:
      return launch_rows<X, Y, 2, 4>(ctx, a);
    case 32:
      return launch_rows<X, Y, 1, 4>(ctx, a);
    case 16:
      return launch_rows<X, Y, 1, 2>(ctx, a);
    default:  // 8, 4, 2, 1
      return launch_rows<X, Y, 1, 1>(ctx, a);
  }
}

}  // namespace

Status hadamard_cuda(Context& ctx, const HadamardArgs& a, std::byte*) {
  return visit_float(a.x, [&]<class X>(X*) { return visit_float(a.y, [&]<class Y>(Y*) { return launch_length<X, Y>(ctx, a); }); });
}

}  // namespace sluice
