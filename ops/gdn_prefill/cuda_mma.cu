// The tensor-core form for bf16 inputs: cuda_mma.cuh says how.
#include "ops/gdn_prefill/cuda_mma_prepare.cuh"
#include "ops/gdn_prefill/cuda_mma_state.cuh"

namespace sluice {
namespace gdn::gpu::mma {
namespace {

template <int K>
Status launch_prepare(Context& ctx, const Call& c, Factors* factors, int64_t T, int B) {
  const LaunchShape shape{.grid = {unsigned(c.pool.HV), unsigned(Cut::bound(T, B))},
                          .block = kThreads,
                          .shared = sizeof(PrepareMemory<K>),
                          .dependent = true};
  return cuda::launch(ctx, prepare_kernel<K>, shape, c, factors, B);
}

template <class S, int K>
Status launch_state(Context& ctx, const Call& c, const Factors* factors, unsigned B) {
  LaunchShape shape{.grid = {unsigned(c.pool.HV * c.pool.V / kColumns), B},
                    .block = kThreads,
                    .shared = 2 * sizeof(StateStage<K>),
                    .dependent = true};
  if (shape.shared <= ctx.gpu->shared_memory) return cuda::launch(ctx, state_kernel<S, K, 2>, shape, c, factors);
  shape.shared /= 2;
  return cuda::launch(ctx, state_kernel<S, K, 1>, shape, c, factors);
}

template <int K>
Status launch(Context& ctx, const GdnPrefillArgs& a, Factors* factors) {
  const Call c = prefill::make_call(a);
  const unsigned B = unsigned(a.slots.dim(0));
  SLUICE_RETURN_IF_ERROR(launch_prepare<K>(ctx, c, factors, a.q.dim(0), int(B)));
  const bool bf16 = a.state.s.dtype == DType::kBF16;
  SLUICE_RETURN_IF_ERROR((bf16 ? launch_state<Bf16, K> : launch_state<float, K>)(ctx, c, factors, B));
  return prefill::keep_rows(ctx, c, B);
}

}  // namespace
}  // namespace gdn::gpu::mma

size_t gdn_prefill_cuda_mma_workspace(const Context&, const GdnPrefillArgs& a) {
  using namespace gdn::gpu::mma;
  return sizeof(Factors) * size_t(Cut::bound(a.q.dim(0), a.slots.dim(0)) * a.v.dim(1));
}

Status gdn_prefill_cuda_mma(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  auto* factors = reinterpret_cast<gdn::gpu::mma::Factors*>(scratch);
  return a.k.dim(2) == 64 ? gdn::gpu::mma::launch<64>(ctx, a, factors) : gdn::gpu::mma::launch<128>(ctx, a, factors);
}

}  // namespace sluice
