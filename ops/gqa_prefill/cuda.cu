// The plain form, for all shapes and types: a block of threads has a row of o, a token's head. A row's bits depend on its own keys
// alone.
#include <algorithm>
#include <climits>

#include "core/cuda/launch.h"
#include "core/rows.h"
#include "ops/gqa_prefill/forms.h"
#include "ops/mla_decode/plain.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kBlocks = 8;  // of a multiprocessor at once: 64 registers

// Where a key and its value lie, in elements from the caches' starts.
struct KeyPlace {
  int64_t k = -1, v = -1;
  __device__ bool operator!=(const KeyPlace& other) const { return k != other.k; }
};

// The keys of a row's sequence and head.
template <class X>
struct PagedKeys {
  using Key = KeyPlace;
  __device__ static Key none() { return {}; }
  const GqaArgs& a;
  const int32_t* pages;  // the sequence's, of block_table
  int64_t head;

  __device__ Key at(int64_t j) const {
    const int64_t size = a.k_cache.shape[1], i = divide(j, size), row = j - i * size;
    const int64_t page = i < a.block_table.shape[1] ? pages[i] : -1;
    if (j < a.first_key || page < 0 || page >= a.k_cache.shape[0]) return none();
    const auto place = [&](const Tensor& cache) { return page * cache.stride[0] + row * cache.stride[1] + head * cache.stride[2]; };
    return {place(a.k_cache), place(a.v_cache)};
  }
  __device__ float element(const Key& key, int64_t d) const { return to_float(static_cast<const X*>(a.k_cache.data)[key.k + d]); }
  __device__ float value(const Key& key, int64_t d) const { return to_float(static_cast<const X*>(a.v_cache.data)[key.v + d]); }
};

// An element of q or gate, bf16 or fp32.
__device__ float element_of(const Tensor& t, int64_t token, int64_t head, int64_t d) {
  const int64_t at = token * t.stride[0] + head * t.stride[1] + d;
  return t.dtype == DType::kBF16 ? to_float(static_cast<const Bf16*>(t.data)[at]) : static_cast<const float*>(t.data)[at];
}

// Keys that a row of q sees: up to its own position. All threads of the warp call it.
__device__ int64_t keys_of(const GqaArgs& a, int64_t token, int& sequence) {
  if (!a.cu_seqlens.data) {
    sequence = int(token);
    return static_cast<const int32_t*>(a.seq_lens.data)[token];
  }
  const int32_t* cu = static_cast<const int32_t*>(a.cu_seqlens.data);
  sequence = sequence_of<kWarp>(cu, int(a.seq_lens.shape[0]), token);
  const int64_t length = static_cast<const int32_t*>(a.seq_lens.data)[sequence];
  return length == 0 ? 0 : length - (cu[sequence + 1] - token) + 1;
}

template <class X, class O>
__global__ void __launch_bounds__(kPlainThreads, kBlocks) gqa_kernel(const __grid_constant__ GqaArgs a) {
  extern __shared__ float memory[];
  __shared__ PlainBlock<KeyPlace> block;
  wait_for_previous_kernel();
  const int64_t heads = a.q.shape[1], dim = a.q.shape[2], group = heads / a.k_cache.shape[2];
  float *q = memory, *sums = memory + dim;
  for (int64_t r = blockIdx.x; r < a.q.shape[0] * heads; r += gridDim.x) {
    const int64_t token = r / heads, head = r % heads;
    for (int64_t d = threadIdx.x; d < dim; d += kPlainThreads) {
      const float x = element_of(a.q, token, head, d);
      q[d] = std::is_same_v<X, float> ? x : to_float(from_float<Bf16>(x)), sums[d] = 0;
    }
    int sequence;
    const int64_t count = keys_of(a, token, sequence);
    const PagedKeys<X> keys{a, static_cast<const int32_t*>(a.block_table.data) + sequence * a.block_table.stride[0], head / group};
    const PlainResult result = PlainAttention<PagedKeys<X>>(keys, block, a.scale).run(count, q, dim, sums, dim);
    O* o = static_cast<O*>(a.o.data) + token * a.o.stride[0] + head * a.o.stride[1];
    for (int64_t d = threadIdx.x; d < dim; d += kPlainThreads) {
      const float gate = a.gate.data ? 1 / (1 + expf(-element_of(a.gate, token, head, d))) : 1;
      o[d] = from_float<O>(result.value(sums[d]) * gate);
    }
    if (threadIdx.x == 0 && a.lse.data)
      static_cast<float*>(a.lse.data)[token * a.lse.stride[0] + head * a.lse.stride[1]] = result.log();
    __syncthreads();  // the next row takes the same memory
  }
}

}  // namespace

Status gqa_cuda(Context& ctx, const GqaArgs& a, std::byte*) {
  const LaunchShape shape{.grid = unsigned(std::min<int64_t>(a.q.dim(0) * a.q.dim(1), INT_MAX)),
                          .block = kPlainThreads,
                          .shared = size_t(2 * a.q.dim(2)) * sizeof(float),
                          .dependent = true};
  return visit_float(a.k_cache, [&]<class X>(X*) {
    return visit_float(a.o, [&]<class O>(O*) { return launch(ctx, gqa_kernel<X, O>, shape, a); });
  });
}

}  // namespace sluice
