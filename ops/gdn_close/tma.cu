// A block a value head, by the closing that gdn_decode does, so the bits agree.
#include "ops/gdn_chunk/tma_append.cuh"
#include "ops/gdn_close/forms.h"

namespace sluice {
namespace {

using namespace gdn::tma;

template <class S>
__global__ void __launch_bounds__(kThreads, 3)
    close_kernel(const __grid_constant__ Pool pool, const __grid_constant__ CUtensorMap map, const int32_t* slots,
                 const int32_t* rows) {
  extern __shared__ __align__(1024) char memory[];
  Shared w;
  StateRow<S> state = begin_block<S, 1>(w, memory, pool.R, map);
  Piece p = find_head(pool);
  PoolRows from(pool, p);
  cuda::wait_for_previous_kernel();

  p.slot = slots[p.b], p.n = rows[p.b];
  if (p.slot < 0 || p.slot >= pool.S || p.n < 1 || p.n > pool.R) return;
  state.fetch(p.slot, p.head, true);
  from.move_to(pool, p.slot);
  fetch_keys(w, from, p.n);
  OpenRows open;
  open.fetch(from.u, 0, p.n);
  const float last_g = from.g[p.n - 1];
  if (int(threadIdx.x) < p.n) w.closing[threadIdx.x] = expf(last_g - from.g[threadIdx.x]);
  ptx::mbarrier_wait(w.open_keys, 0);
  __syncthreads();
  state.wait();
  state.close(expf(last_g), p.n, w.closing, w.keys, from.u, open);
  state.send(p.slot, p.head);
}

template <class S>
Status launch_close(const Context& ctx, const GdnCloseArgs& a) {
  const Pool pool = gdn::gpu::make_pool(a.state, a.state.k.dim(1));
  if (a.slots.dim(0) == 0 || pool.S == 0) return {};
  CUtensorMap map;
  SLUICE_RETURN_IF_ERROR(encode_state(&map, pool, a.state.s.dtype));
  const int shared = Shared().lay_out(nullptr, StateRow<S>::kBytes, pool.R, 1);
  return cuda::launch(ctx, close_kernel<S>,
                      {.grid = launch_grid(pool, a.slots.dim(0)), .block = kThreads, .shared = size_t(shared), .dependent = true},
                      pool, map, a.slots.as<int32_t>(), a.rows.as<int32_t>());
}

}  // namespace

Status gdn_close_tma(Context& ctx, const GdnCloseArgs& a, std::byte*) {
  return a.state.s.dtype == DType::kBF16 ? launch_close<Bf16>(ctx, a) : launch_close<float>(ctx, a);
}

}  // namespace sluice
