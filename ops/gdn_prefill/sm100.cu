// gdn_prefill on compute capability 10.0 and 10.3: tensor cores through tcgen05, operands through the copy engine; see sm100.cuh.
#include <algorithm>

#include "core/cuda/tma.h"
#include "ops/gdn_prefill/sm100.h"
#include "ops/gdn_prefill/sm100_load.cuh"
#include "ops/gdn_prefill/sm100_solve.cuh"
#include "ops/gdn_prefill/sm100_state.cuh"
#include "ops/l2norm/forms.h"

namespace sluice {
namespace gdn_sm100 {

constexpr int kThreads = 3 * kGroup;
// Registers a thread: 72 + 2 * 216 = 504 = 3 * 168, what the launch gives out.
constexpr int kWarpRegisters = 72, kGroupRegisters = 216;

__device__ inline void run_role(const Params& p, Shared& sm) {
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);  // known to be the same in every lane
  if (warp < 8) {
    ptx::set_max_registers_up<kGroupRegisters>();
    return warp < 4 ? run_state(p, sm) : solve_chunks(p, sm);
  }
  ptx::set_max_registers_down<kWarpRegisters>();
  if (warp == 8) return load_chunks(p, sm);
  if (warp == 9) return make_all_gates(p, sm);
  if (!ptx::elect_one()) return;
  return warp == 10 ? multiply_state(p, sm) : multiply_rows(p, sm);
}

__global__ void __launch_bounds__(kThreads, 1) gdn_prefill_sm100_update(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& sm = *reinterpret_cast<Shared*>(memory);
  const bool allocates = threadIdx.x < 32;
  if (threadIdx.x == 0) init_barriers(sm);
  __syncwarp();
  if (allocates) ptx::tmem_allocate<kColumns>(&sm.tensor_memory), ptx::tmem_relinquish();
  ptx::tcgen05_fence_before();
  __syncthreads();
  ptx::tcgen05_fence_after();
  cuda::wait_for_previous_kernel();
  run_role(p, sm);
  __syncwarp();
  ptx::tcgen05_fence_before();
  __syncthreads();
  ptx::tcgen05_fence_after();
  if (allocates) ptx::tmem_free<kColumns>(sm.tensor_memory);
}

// The keys of rows that stay open. Block i: key head i % HK of sequence i / HK; a thread an element.
__global__ void __launch_bounds__(kDim) gdn_prefill_sm100_keep_keys(const __grid_constant__ Params p) {
  cuda::wait_for_previous_kernel();
  const int key_head = blockIdx.x % p.HK;
  const Unit u = make_unit(p, blockIdx.x / p.HK, key_head * (p.HV / p.HK));
  if (u.chunks == 0) return;
  const int kept = u.last - u.closed;
  const __nv_bfloat16* from = p.k_rows + (u.end - kept) * p.k_row_stride + key_head * p.k_head_stride + threadIdx.x;
  float* to = Pool(p, u).k + u.open_at * kDim + threadIdx.x;
  for (int i = 0; i < kept; ++i) to[i * kDim] = __bfloat162float(from[i * p.k_row_stride]);
}

// Rows of `t` in boxes of 64 by 64. A tensor without rows has no map, and nobody asks for one.
Status encode(CUtensorMap* map, const Tensor& t) {
  if (t.dim(0) == 0) return {};
  return cuda::encode_rows(map, {.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                 .data = t.data,
                                 .T = t.dim(0),
                                 .H = t.dim(1),
                                 .D = kDim,
                                 .row_stride = t.stride[0],
                                 .head_stride = t.stride[1],
                                 .rows = kC,
                                 .columns = kRowBytes / 2});
}

}  // namespace gdn_sm100

// q and k divided by their norms, where the call asks for it.
size_t gdn_prefill_sm100_workspace(const Context&, const GdnPrefillArgs& a) {
  return a.qk_l2norm ? sizeof(__nv_bfloat16) * 2 * a.q.dim(0) * a.k.dim(1) * gdn_sm100::kDim : 0;
}

Status gdn_prefill_sm100(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  using namespace gdn_sm100;
  if (a.slots.dim(0) == 0) return {};
  Tensor q = a.q, k = a.k;
  if (a.qk_l2norm) {
    q = Tensor(scratch, DType::kBF16, {a.q.dim(0), a.k.dim(1), kDim});
    k = Tensor(scratch + q.bytes(), DType::kBF16, {a.q.dim(0), a.k.dim(1), kDim});
    SLUICE_RETURN_IF_ERROR(l2norm_cuda(ctx, {.x = a.q, .y = q, .eps = a.l2_eps}, nullptr));
    SLUICE_RETURN_IF_ERROR(l2norm_cuda(ctx, {.x = a.k, .y = k, .eps = a.l2_eps}, nullptr));
  }
  Params p{};
  set_call(p, a, k);
  SLUICE_RETURN_IF_ERROR(encode(&p.q, q));
  SLUICE_RETURN_IF_ERROR(encode(&p.k, k));
  SLUICE_RETURN_IF_ERROR(encode(&p.v, a.v));
  const int64_t units = int64_t(p.B) * p.HV;
  SLUICE_RETURN_IF_ERROR(cuda::launch(
      ctx, gdn_prefill_sm100_update,
      {.grid = unsigned(std::min<int64_t>(units, ctx.gpu->sms)), .block = kThreads, .shared = sizeof(Shared), .dependent = true},
      p));
  return cuda::launch(ctx, gdn_prefill_sm100_keep_keys, {.grid = unsigned(p.B * p.HK), .block = kDim, .dependent = true}, p);
}

}  // namespace sluice
