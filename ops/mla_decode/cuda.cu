// The plain form, for all shapes and types: a block of threads has a row of o, a token's head, and goes through its list of keys 64
// at a time; a warp computes a score, a thread an element of the output. fp32 throughout.
#include <algorithm>
#include <climits>
#include <cmath>

#include "core/cuda/launch.h"
#include "core/rows.h"
#include "ops/merge_state/states.h"
#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/keys.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kBlock = 64;

struct Fp8Row {};  // of the cache; stands for bf16

struct Call {
  MlaKeys keys;
  Tensor q_nope, q_pe, o, lse;
  float scale, to_base;  // natural logarithms to lse's base
};

// Element d of a cached row of `latent` elements and then rope.
template <class X>
__device__ float key_element(const char* row, int64_t d, int64_t latent) {
  if constexpr (!std::is_same_v<X, Fp8Row>) return to_float(reinterpret_cast<const X*>(row)[d]);
  else {
    const char* scales = row + latent;
    if (d >= latent) return to_float(reinterpret_cast<const Bf16*>(scales + latent / kMlaScaleGroup * 4)[d - latent]);
    const float scale = reinterpret_cast<const float*>(scales)[d / kMlaScaleGroup];
    return to_float(from_float<Bf16>(to_float(reinterpret_cast<const F8E4M3*>(row)[d]) * scale));
  }
}

// A query's element as rounded as the products take it.
template <class Q, class X>
__device__ float query_element(const Tensor& q, int64_t token, int64_t head, int64_t d) {
  const float x = to_float(static_cast<const Q*>(q.data)[token * q.stride[0] + head * q.stride[1] + d]);
  if constexpr (std::is_same_v<X, float>) return x;
  else return to_float(from_float<Bf16>(x));
}

// A block of keys: their rows, their scores, then their weights.
struct KeyBlock {
  const char* row[kBlock];
  float score[kBlock];
};

template <class X>
__device__ void score_keys(const Call& c, const MlaList& list, int64_t begin, const float* q, KeyBlock& block) {
  const int64_t latent = c.q_nope.shape[2], dim = latent + c.q_pe.shape[2];
  const int lane = int(threadIdx.x) % kWarp;
  for (int j = int(threadIdx.x) / kWarp; j < kBlock; j += kThreads / kWarp) {
    const char* row = c.keys.at(list, begin + j);
    float sum = 0;
    if (row)
      for (int64_t d = lane; d < dim; d += kWarp) sum = fmaf(q[d], key_element<X>(row, d, latent), sum);
    sum = group_sum(sum);
    if (lane == 0) block.row[j] = row, block.score[j] = row ? sum * c.scale : -INFINITY;
  }
}

// A row's softmax so far, the same in all threads.
struct Running {
  float most = -INFINITY, total = 0;
};

template <class X>
__device__ void add_block(const Call& c, Running& running, KeyBlock& block, float* sums) {
  const int64_t latent = c.q_nope.shape[2];
  float most = running.most, total = 0;
  for (int j = 0; j < kBlock; ++j) most = fmaxf(most, block.score[j]);
  const float shift = most == -INFINITY ? 0 : most, keep = expf(running.most - shift);
  __syncthreads();
  if (threadIdx.x < kBlock) block.score[threadIdx.x] = expf(block.score[threadIdx.x] - shift);
  __syncthreads();
  for (int j = 0; j < kBlock; ++j) total += block.score[j];
  running = {most, fmaf(running.total, keep, total)};
  for (int64_t d = threadIdx.x; d < latent; d += kThreads) {
    float sum = sums[d] * keep;
    for (int j = 0; j < kBlock; ++j)
      if (block.row[j]) sum = fmaf(block.score[j], key_element<X>(block.row[j], d, latent), sum);
    sums[d] = sum;
  }
}

template <class Q, class X, class O>
__global__ void __launch_bounds__(kThreads) mla_decode_kernel(const __grid_constant__ Call c) {
  extern __shared__ float memory[];
  __shared__ KeyBlock block;
  wait_for_previous_kernel();
  const int64_t latent = c.q_nope.shape[2], rope = c.q_pe.shape[2], heads = c.q_nope.shape[1];
  float *q = memory, *sums = memory + latent + rope;
  for (int64_t r = blockIdx.x; r < c.q_nope.shape[0] * heads; r += gridDim.x) {
    const int64_t token = r / heads, head = r % heads;
    for (int64_t d = threadIdx.x; d < latent; d += kThreads) q[d] = query_element<Q, X>(c.q_nope, token, head, d), sums[d] = 0;
    for (int64_t d = threadIdx.x; d < rope; d += kThreads) q[latent + d] = query_element<Q, X>(c.q_pe, token, head, d);
    const MlaList list = c.keys.list(token);
    Running running;
    for (int64_t begin = 0; begin < list.count; begin += kBlock) {
      __syncthreads();  // q is there, and the last block's weights are used
      score_keys<X>(c, list, begin, q, block);
      __syncthreads();
      add_block<X>(c, running, block, sums);
    }
    O* o = static_cast<O*>(c.o.data) + token * c.o.stride[0] + head * c.o.stride[1];
    for (int64_t d = threadIdx.x; d < latent; d += kThreads)
      o[d] = from_float<O>(running.total == 0 ? 0 : sums[d] / running.total);
    if (threadIdx.x == 0 && c.lse.data)
      static_cast<float*>(c.lse.data)[token * c.lse.stride[0] + head * c.lse.stride[1]] =
          running.total == 0 ? -INFINITY : (running.most + logf(running.total)) * c.to_base;
    __syncthreads();
  }
  __syncthreads();  // the block's stores are behind it
  let_next_kernel_start();
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
                          .block = kThreads,
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
