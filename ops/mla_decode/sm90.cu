// mla_decode on compute capability 9.0: tensor cores through wgmma; see sm90.cuh.
#include <algorithm>
#include <climits>

#include "core/cuda/tma.h"
#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/sm90_attend.cuh"
#include "ops/mla_decode/sm90_load.cuh"

namespace sluice {
namespace mla_sm90 {
namespace {

// Of 168 registers a thread that the launch gives out: 88 + 2 * 208 = 504 = 3 * 168.
constexpr int kLoaderRegisters = 88, kComputeRegisters = 208;

__device__ void init_barriers(Shared& shared) {
  if (threadIdx.x == 0) {
    for (int place = 0; place < 2; ++place)
      for (int part = 0; part < kParts; ++part) {
        ptx::mbarrier_init(&shared.full[place][part], fillers(part));
        ptx::mbarrier_init(&shared.empty[place][part], kGroupWarps);
      }
    ptx::fence_barrier_init();
  }
}

// A stretch without keys; the merge does not read its outputs.
__device__ void leave_empty(const Call& c, const Work& work) {
  const int row = int(threadIdx.x);
  if (row >= kRows || !work.has(c, row)) return;
  const int64_t token = work.token + work.token_of(row);
  c.part_lse[(token * c.heads + work.head_of(row)) * c.cut.splits + work.split] = -INFINITY;
}

template <bool kFp8>
__global__ void __launch_bounds__(kThreads, 1) mla_decode_sm90_kernel(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  init_barriers(shared);
  cuda::wait_for_previous_kernel();
  if (threadIdx.x < kWarp) {
    const Work work(p.call);
    if (threadIdx.x == 0) shared.work = work, shared.stretch = Stretch(p.call, work);
  }
  __syncthreads();
  if (shared.stretch.count == 0 && p.call.cut.splits > 1) return leave_empty(p.call, shared.work);
  const int group = __shfl_sync(0xffffffffu, int(threadIdx.x) / kGroup, 0);
  if (group == 0) {
    ptx::set_max_registers_up<kComputeRegisters>();
    Attention<0>(p, shared).run();
  } else if (group == 1) {
    ptx::set_max_registers_up<kComputeRegisters>();
    Attention<1>(p, shared).run();
  } else {
    ptx::set_max_registers_down<kLoaderRegisters>();
    Loader<kFp8> loader(p, shared);
    if constexpr (kFp8) loader.run_fp8();
    else loader.run_bf16();
  }
}

Cut cut_of(const Context& ctx, const MlaDecodeArgs& a) { return cut_call(a, kRows, ctx.gpu->sms); }

// Boxes of 64 rows of a page: of a dense call whose pages are whole blocks of keys.
Status encode_pages(Params& p, const MlaDecodeArgs& a) {
  p.by_engine = !mla_fp8(a) && !a.indices.present() && a.kv.dim(1) % kBlock == 0 && a.kv.dim(0) > 0;
  if (!p.by_engine) return {};
  return cuda::encode_rows(&p.rows, {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, a.kv.data, a.kv.dim(1), a.kv.dim(0), kLatent + kRope,
                                     a.kv.stride[1], a.kv.stride[0], kBlock, 64});
}

}  // namespace
}  // namespace mla_sm90

size_t mla_decode_sm90_workspace(const Context& ctx, const MlaDecodeArgs& a) {
  return mla_tiles::workspace_of(mla_sm90::cut_of(ctx, a), a);
}

Status mla_decode_sm90(Context& ctx, const MlaDecodeArgs& a, std::byte* scratch) {
  using namespace mla_sm90;
  const Cut cut = mla_sm90::cut_of(ctx, a);
  Params p{.call = make_call(a, cut, scratch)};
  if (std::max(cut.blocks(), p.call.tokens * p.call.heads) > INT_MAX)
    return {Code::kUnsupported, "mla_decode: more rows than a grid has blocks"};
  SLUICE_RETURN_IF_ERROR(encode_pages(p, a));
  const cuda::LaunchShape shape{.grid = unsigned(cut.blocks()), .block = kThreads, .shared = sizeof(Shared), .dependent = true};
  SLUICE_RETURN_IF_ERROR(mla_fp8(a) ? cuda::launch(ctx, mla_decode_sm90_kernel<true>, shape, p)
                                    : cuda::launch(ctx, mla_decode_sm90_kernel<false>, shape, p));
  return merge_stretches(ctx, p.call);
}

}  // namespace sluice
