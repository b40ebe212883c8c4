// A row to `Lanes` neighbouring threads, a run of elements each: the row is read once where it fits their registers. The sum's
// order is that of qkv_conv_split: within a run, over a thread's runs, then one tree over the threads.
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/l2norm/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 256, kBlocks = 5;  // of a multiprocessor at once: what it takes to have enough reads in flight

template <class X, class Y, int Lanes>
__global__ void __launch_bounds__(kThreads, kBlocks) l2norm_kernel(RowsView x, RowsView y, float eps, bool wide) {
  cuda::wait_for_previous_kernel();
  const int64_t r = int64_t(blockIdx.x) * (kThreads / Lanes) + threadIdx.x / Lanes;
  const bool here = r < x.count;  // every thread takes part in the sum
  const X* in = here ? x.row<X>(r) : nullptr;
  const int64_t first = threadIdx.x % Lanes * kRun, n = here ? x.length : 0;
  const auto load = [&](int64_t d) { return load_run(in + d, int(min(n - d, int64_t(kRun))), wide); };

  const Run<X> head = load(first);
  float sum = 0;
  for (int64_t d = first; d < n; d += Lanes * kRun) {
    const Run<X> run = d == first ? head : load(d);
#pragma unroll
    for (int i = 0; i < kRun; ++i) sum = fmaf(run[i], run[i], sum);
  }
  const float scale = rsqrtf(group_sum<Lanes>(sum) + eps);
  for (int64_t d = first; d < n; d += Lanes * kRun) {
    const Run<X> run = d == first ? head : load(d);
    float out[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) out[i] = run[i] * scale;
    store_run(y.row<Y>(r) + d, out, int(min(n - d, int64_t(kRun))), wide);
  }
}

}  // namespace

Status l2norm_cuda(Context& ctx, const L2normArgs& a, std::byte*) {
  const RowsView x(a.x), y(a.y);
  const bool wide = x.length % kRun == 0 && wide_runs(a.x) && wide_runs(a.y);
  return visit_float(a.x, [&]<class X>(X*) {
    return visit_float(a.y, [&]<class Y>(Y*) {
      const auto launch_lanes = [&]<int Lanes>() {
        constexpr int64_t kRows = kThreads / Lanes;  // of a block
        const LaunchShape shape{.grid = unsigned((x.count + kRows - 1) / kRows), .block = kThreads, .dependent = true};
        return launch(ctx, l2norm_kernel<X, Y, Lanes>, shape, x, y, a.eps, wide);
      };
      return x.length <= 16 * kRun ? launch_lanes.template operator()<16>() : launch_lanes.template operator()<32>();
    });
  });
}

}  // namespace sluice
