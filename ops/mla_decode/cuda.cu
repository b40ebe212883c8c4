// The plain form, for all shapes and types: a block of threads has a row of o, a token's head.
#include <algorithm>
#include <climits>

#include "core/cuda/launch.h"
#include "core/rows.h"
#include "ops/merge_state/states.h"
#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/keys.cuh"
#include "ops/mla_decode/plain.cuh"

namespace sluice {
namespace {

using namespace cuda;

struct Fp8Row {};  // of the cache; stands for bf16

struct Call {
  MlaKeys keys;
  Tensor q_nope, q_pe, o, lse;
  float scale, to_base;  // natural logarithms to lse's base
};

// A query's element as rounded as the products take it.
template <class Q, class X>
__device__ float query_element(const Tensor& q, int64_t token, int64_t head, int64_t d) {
  const float x = to_float(static_cast<const Q*>(q.data)[token * q.stride[0] + head * q.stride[1] + d]);
  if constexpr (std::is_same_v<X, float>) return x;
  else return to_float(from_float<Bf16>(x));
}

// The keys of a row, of the cache's type X.
template <class X>
struct RowKeys {
  using Key = const char*;
  __device__ static Key none() { return nullptr; }
  const MlaKeys& keys;
  MlaList list;
  int64_t latent;

  __device__ Key at(int64_t j) const { return keys.at(list, j); }
  __device__ float element(Key row, int64_t d) const {
    if constexpr (!std::is_same_v<X, Fp8Row>) return to_float(reinterpret_cast<const X*>(row)[d]);
    else {
      const char* scales = row + latent;
      if (d >= latent) return to_float(reinterpret_cast<const Bf16*>(scales + latent / kMlaScaleGroup * 4)[d - latent]);
      const float scale = reinterpret_cast<const float*>(scales)[d / kMlaScaleGroup];
      return to_float(from_float<Bf16>(to_float(reinterpret_cast<const F8E4M3*>(row)[d]) * scale));
    }
  }
  __device__ float value(Key row, int64_t d) const { return element(row, d); }
};

template <class Q, class X, class O>
__global__ void __launch_bounds__(kPlainThreads) mla_decode_kernel(const __grid_constant__ Call c) {
  extern __shared__ float memory[];
  __shared__ PlainBlock<const char*> block;
  wait_for_previous_kernel();
  const int64_t latent = c.q_nope.shape[2], rope = c.q_pe.shape[2], heads = c.q_nope.shape[1];
  float *q = memory, *sums = memory + latent + rope;
  for (int64_t r = blockIdx.x; r < c.q_nope.shape[0] * heads; r += gridDim.x) {
    const int64_t token = r / heads, head = r % heads;
    for (int64_t d = threadIdx.x; d < latent; d += kPlainThreads) q[d] = query_element<Q, X>(c.q_nope, token, head, d), sums[d] = 0;
    for (int64_t d = threadIdx.x; d < rope; d += kPlainThreads) q[latent + d] = query_element<Q, X>(c.q_pe, token, head, d);
    const RowKeys<X> keys{c.keys, c.keys.list(token), latent};
    const PlainResult result =
        PlainAttention<RowKeys<X>>(keys, block, c.scale).run(keys.list.count, q, latent + rope, sums, latent);
    O* o = static_cast<O*>(c.o.data) + token * c.o.stride[0] + head * c.o.stride[1];
    for (int64_t d = threadIdx.x; d < latent; d += kPlainThreads) o[d] = from_float<O>(result.value(sums[d]));
    if (threadIdx.x == 0 && c.lse.data)
      static_cast<float*>(c.lse.data)[token * c.lse.stride[0] + head * c.lse.stride[1]] = result.log() * c.to_base;
    __syncthreads();  // the next row takes the same memory
  }
}

}  // namespace

Status mla_decode_cuda(Context& ctx, const MlaDecodeArgs& a, std::byte*) {
  const Call call{.keys = MlaKeys(a),
                  .q_nope = a.q_nope,
                  .q_pe = a.q_pe,
                  .o = a.o,
                  .lse = a.lse,
                  .scale = a.scale,
                  .to_base = float(1 / natural_log_of(a.base))};
  const int64_t rows = a.q_nope.dim(0) * a.q_nope.dim(1), floats = 2 * a.q_nope.dim(2) + a.q_pe.dim(2);
  const LaunchShape shape{.grid = unsigned(std::min<int64_t>(rows, INT_MAX)),
                          .block = kPlainThreads,
                          .shared = size_t(floats) * sizeof(float),
                          .dependent = true};
  return visit_float(a.q_nope, [&]<class Q>(Q*) {
    return visit_float(a.o, [&]<class O>(O*) {
      if (mla_fp8(a)) return launch(ctx, mla_decode_kernel<Q, Fp8Row, O>, shape, call);
      return visit_float(a.kv, [&]<class X>(X*) { return launch(ctx, mla_decode_kernel<Q, X, O>, shape, call); });
    });
  });
}

}  // namespace sluice
