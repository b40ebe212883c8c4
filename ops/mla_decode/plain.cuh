// Attention of one row by a block of threads, for keys of any kind: a warp computes a score, a thread an element of the output.
// fp32 throughout, without approximate instructions.
#pragma once

#include <cmath>

#include "core/cuda/rows.cuh"

namespace sluice::cuda {

inline constexpr int kPlainThreads = 128, kPlainBlock = 64;  // keys

// A block of keys: what names each, their scores, then their weights.
template <class Key>
struct PlainBlock {
  Key key[kPlainBlock];
  float score[kPlainBlock];
};

// A row's softmax so far, the same in all threads; `sums`, in shared memory, are not yet divided by the total.
struct PlainResult {
  float most = -INFINITY, total = 0;
  __device__ float value(float sum) const { return total == 0 ? 0 : sum / total; }
  __device__ float log() const { return total == 0 ? -INFINITY : most + logf(total); }  // natural
};

// Keys has: Key at(j), none() where there is no key j; element(key, d) and value(key, d).
template <class Keys>
class PlainAttention {
  using Key = typename Keys::Key;

 public:
  __device__ PlainAttention(const Keys& keys, PlainBlock<Key>& block, float scale) : keys_(keys), block_(block), scale_(scale) {}

  // q has `dim` elements, sums `values`, zero before; both in shared memory.
  __device__ PlainResult run(int64_t count, const float* q, int64_t dim, float* sums, int64_t values) {
    for (int64_t begin = 0; begin < count; begin += kPlainBlock) {
      __syncthreads();  // q is there, and the last block's weights are used
      score(begin, count, q, dim);
      __syncthreads();
      add(sums, values);
    }
    return result_;
  }

 private:
  __device__ void score(int64_t begin, int64_t count, const float* q, int64_t dim) {
    const int lane = int(threadIdx.x) % kWarp;
    for (int j = int(threadIdx.x) / kWarp; j < kPlainBlock; j += kPlainThreads / kWarp) {
      const Key key = begin + j < count ? keys_.at(begin + j) : Keys::none();
      const bool has = key != Keys::none();
      float sum = 0;
      if (has)
        for (int64_t d = lane; d < dim; d += kWarp) sum = fmaf(q[d], keys_.element(key, d), sum);
      sum = group_sum(sum);
      if (lane == 0) block_.key[j] = key, block_.score[j] = has ? sum * scale_ : -INFINITY;
    }
  }

  __device__ void add(float* sums, int64_t values) {
    float most = result_.most, total = 0;
    for (int j = 0; j < kPlainBlock; ++j) most = fmaxf(most, block_.score[j]);
    const float shift = most == -INFINITY ? 0 : most, keep = expf(result_.most - shift);  // no difference of infinities
    __syncthreads();
    if (threadIdx.x < kPlainBlock) block_.score[threadIdx.x] = expf(block_.score[threadIdx.x] - shift);
    __syncthreads();
    for (int j = 0; j < kPlainBlock; ++j) total += block_.score[j];
    result_ = {most, fmaf(result_.total, keep, total)};
    for (int64_t d = threadIdx.x; d < values; d += kPlainThreads) {
      float sum = sums[d] * keep;
      for (int j = 0; j < kPlainBlock; ++j)
        if (block_.key[j] != Keys::none()) sum = fmaf(block_.score[j], keys_.value(block_.key[j], d), sum);
      sums[d] = sum;
    }
  }

  const Keys& keys_;
  PlainBlock<Key>& block_;
  const float scale_;
  PlainResult result_;
};

}  // namespace sluice::cuda
