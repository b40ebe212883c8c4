// A block a value head; the closing of a tile is the one that gdn_decode does, so the bits agree.
#include "ops/gdn_chunk/pool.cuh"
#include "ops/gdn_close/forms.h"

namespace sluice {
namespace {

using namespace gdn::gpu;

template <class S, int N>
__global__ void __launch_bounds__(kThreads, N == 4 ? 3 : 2)
    close_kernel(const __grid_constant__ Pool pool, const int32_t* slots, const int32_t* rows) {
  extern __shared__ __align__(128) char memory[];
  cuda::wait_for_previous_kernel();
  const int b = blockIdx.x / pool.HV, head = blockIdx.x % pool.HV, n = rows[b], K = pool.K, V = pool.V;
  const int64_t slot = slots[b];
  if (slot < 0 || slot >= pool.S || n < 1 || n > pool.R) return;
  S* s = static_cast<S*>(pool.s) + slot * pool.s_pitch + int64_t(head) * K * V;
  const float* g = pool.g + slot * pool.g_pitch + head * pool.R;
  const float* keys = pool.k + slot * pool.k_pitch + int64_t(head / (pool.HV / pool.HK)) * pool.R * K;
  const float* u = pool.u + slot * pool.u_pitch + int64_t(head) * pool.R * V;
  float* weights = reinterpret_cast<float*>(memory);
  TileStream<S, 0> stream(s, memory + pool.R * sizeof(float), K, V);
  stream.init();
  stream.start();
  for (int j = threadIdx.x; j < n; j += kThreads) weights[j] = expf(g[n - 1] - g[j]);
  __syncthreads();
  const float decay = expf(g[n - 1]);
  for (int i = 0; i < stream.count(); ++i) {
    const int row = stream.first_row() + i * kTileRows;
    Tile<N> x;
    stream.read(i, x);
    close_tile<N == 4 ? 2 : 1>(x, decay, weights, n, keys, K, u + row, V);
    x.store(s + row * K, K);
  }
}

template <class S, int N>
Status launch_close(const Context& ctx, const GdnCloseArgs& a, const Pool& pool) {
  const size_t shared = pool.R * sizeof(float) + TileStream<S, 0>::shared_bytes(pool.K, pool.V);
  return cuda::launch(ctx, close_kernel<S, N>,
                      {.grid = unsigned(a.slots.dim(0) * pool.HV), .block = kThreads, .shared = shared, .dependent = true}, pool,
                      a.slots.as<int32_t>(), a.rows.as<int32_t>());
}

}  // namespace

Status gdn_close_cuda(Context& ctx, const GdnCloseArgs& a, std::byte*) {
  const Pool pool = make_pool(a.state, a.state.k.dim(1));
  const bool wide = pool.K > kGroup;
  if (a.state.s.dtype == DType::kBF16) return wide ? launch_close<Bf16, 8>(ctx, a, pool) : launch_close<Bf16, 4>(ctx, a, pool);
  return wide ? launch_close<float, 8>(ctx, a, pool) : launch_close<float, 4>(ctx, a, pool);
}

}  // namespace sluice
