// One thread an element.
#include "core/cuda/launch.h"
#include "ops/gating/forms.h"
#include "ops/gating/gates.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    gating_kernel(FloatsView a, FloatsView b, FloatsView A_log, FloatsView dt_bias, float* log_g, int64_t log_g_stride, float* beta,
                  int64_t beta_stride, int64_t count, int64_t heads, float top_beta) {
  cuda::wait_for_previous_kernel();
  const int64_t e = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (e >= count) return;
  const int64_t t = e / heads, h = e % heads;
  const Gates g = gates_of(a.at(t, h), b.at(t, h), -expf(A_log.at(0, h)), dt_bias.at(0, h), top_beta);
  log_g[t * log_g_stride + h] = g.log_g, beta[t * beta_stride + h] = g.beta;
}

}  // namespace

Status gating_cuda(Context& ctx, const GatingArgs& a, std::byte*) {
  const int64_t count = a.a.numel();
  const LaunchShape shape{.grid = unsigned((count + kThreads - 1) / kThreads), .block = kThreads, .dependent = true};
  return launch(ctx, gating_kernel, shape, FloatsView(a.a), FloatsView(a.b), FloatsView(a.A_log), FloatsView(a.dt_bias),
                a.log_g.as<float>(), a.log_g.stride[0], a.beta.as<float>(), a.beta.stride[0], count, a.a.shape[1],
                a.allow_neg_eigval ? 2.f : 1.f);
}

}  // namespace sluice
