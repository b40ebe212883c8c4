// The plain form, for all shapes and types: a block of threads has a row of o, a token's head.
#include <algorithm>
#include <climits>

#include "core/cuda/launch.h"
#include "core/rows.h"
#include "ops/merge_state/states.h"
#include "ops/mla_decode/plain.cuh"
#include "ops/mla_prefill/forms.h"
#include "ops/mla_prefill/sequences.cuh"

namespace sluice {
namespace {

using namespace cuda;

struct Call {
  MlaSequences sequences;
  Tensor q, k_nope, k_pe, v, o, lse;
  float scale, to_base;  // natural logarithms to lse's base
};

template <class X>
struct HeadKeys {
  using Key = int64_t;
  __device__ static Key none() { return -1; }
  const Call& c;
  int64_t first, head;

  __device__ Key at(int64_t j) const { return first + j; }
  __device__ float element(Key key, int64_t d) const {
    const int64_t nope = c.k_nope.shape[2];
    if (d >= nope) return to_float(static_cast<const X*>(c.k_pe.data)[key * c.k_pe.stride[0] + d - nope]);
    return to_float(static_cast<const X*>(c.k_nope.data)[key * c.k_nope.stride[0] + head * c.k_nope.stride[1] + d]);
  }
  __device__ float value(Key key, int64_t d) const {
    return to_float(static_cast<const X*>(c.v.data)[key * c.v.stride[0] + head * c.v.stride[1] + d]);
  }
};

template <class X, class O>
__global__ void __launch_bounds__(kPlainThreads) mla_prefill_kernel(const __grid_constant__ Call c) {
  extern __shared__ float memory[];
  __shared__ PlainBlock<int64_t> block;
  wait_for_previous_kernel();
  const int64_t heads = c.q.shape[1], dim = c.q.shape[2], values = c.v.shape[2];
  float *q = memory, *sums = memory + dim;
  for (int64_t r = blockIdx.x; r < c.q.shape[0] * heads; r += gridDim.x) {
    const int64_t token = r / heads, head = r % heads;
    const X* from = static_cast<const X*>(c.q.data) + token * c.q.stride[0] + head * c.q.stride[1];
    for (int64_t d = threadIdx.x; d < dim; d += kPlainThreads) q[d] = to_float(from[d]);
    for (int64_t d = threadIdx.x; d < values; d += kPlainThreads) sums[d] = 0;
    const MlaSequence s = c.sequences.of_row(token);
    const HeadKeys<X> keys{c, s.first_key, head};
    const PlainResult result = PlainAttention<HeadKeys<X>>(keys, block, c.scale)
                                   .run(s.limit(token - s.first_row, c.sequences.causal), q, dim, sums, values);
    O* o = static_cast<O*>(c.o.data) + token * c.o.stride[0] + head * c.o.stride[1];
    for (int64_t d = threadIdx.x; d < values; d += kPlainThreads) o[d] = from_float<O>(result.value(sums[d]));
    if (threadIdx.x == 0 && c.lse.data)
      static_cast<float*>(c.lse.data)[token * c.lse.stride[0] + head * c.lse.stride[1]] = result.log() * c.to_base;
    __syncthreads();  // the next row takes the same memory
  }
}

}  // namespace

Status mla_prefill_cuda(Context& ctx, const MlaPrefillArgs& a, std::byte*) {
  const Call call{.sequences = MlaSequences(a),
                  .q = a.q,
                  .k_nope = a.k_nope,
                  .k_pe = a.k_pe,
                  .v = a.v,
                  .o = a.o,
                  .lse = a.lse,
                  .scale = a.scale,
                  .to_base = float(1 / natural_log_of(a.base))};
  const LaunchShape shape{.grid = unsigned(std::min<int64_t>(a.q.dim(0) * a.q.dim(1), INT_MAX)),
                          .block = kPlainThreads,
                          .shared = size_t(a.q.dim(2) + a.v.dim(2)) * sizeof(float),
                          .dependent = true};
  return visit_float(a.q, [&]<class X>(X*) {
    return visit_float(a.o, [&]<class O>(O*) { return launch(ctx, mla_prefill_kernel<X, O>, shape, call); });
  });
}

}  // namespace sluice
