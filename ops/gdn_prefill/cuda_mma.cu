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
Status launch_state(Context& ctx, const Call& c, const Factors* factors, unsigned B, int stages) {
  const LaunchShape shape{.grid = {unsigned(c.pool.HV * c.pool.V / kColumns), B},
                          .block = kThreads,
                          .shared = stages * sizeof(StateStage<K>),
                          .dependent = true};
  return cuda::launch(ctx, stages == 2 ? state_kernel<S, K, 2> : state_kernel<S, K, 1>, shape, c, factors);
}

template <int K>
Status launch(Context& ctx, const GdnPrefillArgs& a, Factors* factors) {
  SLUICE_ASSIGN_OR_RETURN(const int stages, choose_tile(ctx, "gdn_prefill:portable_mma", gdn_prefill_cuda_mma_tiles(a)));
  const Call c = prefill::make_call(a);
  const unsigned B = unsigned(a.slots.dim(0));
  SLUICE_RETURN_IF_ERROR(launch_prepare<K>(ctx, c, factors, a.q.dim(0), int(B)));
  const bool bf16 = a.state.s.dtype == DType::kBF16;
  SLUICE_RETURN_IF_ERROR((bf16 ? launch_state<Bf16, K> : launch_state<float, K>)(ctx, c, factors, B, stages));
  return prefill::keep_rows(ctx, c, B);
}

}  // namespace
}  // namespace gdn::gpu::mma

size_t gdn_prefill_cuda_mma_workspace(const Context&, const GdnPrefillArgs& a) {
  using namespace gdn::gpu::mma;
  return sizeof(Factors) * size_t(Cut::bound(a.q.dim(0), a.slots.dim(0)) * a.v.dim(1));
}

Tiles gdn_prefill_cuda_mma_tiles(const GdnPrefillArgs& a) {
  using namespace gdn::gpu::mma;
  const size_t stage = a.k.dim(2) == 64 ? sizeof(StateStage<64>) : sizeof(StateStage<128>);
  Tiles tiles("stages");
  tiles.add(2, 2 * stage), tiles.add(1, stage);
  return tiles;
}

Status gdn_prefill_cuda_mma(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  auto* factors = reinterpret_cast<gdn::gpu::mma::Factors*>(scratch);
  return a.k.dim(2) == 64 ? gdn::gpu::mma::launch<64>(ctx, a, factors) : gdn::gpu::mma::launch<128>(ctx, a, factors);
}

}  // namespace sluice
