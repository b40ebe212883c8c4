// mla_decode on compute capability 9.0: what the two computing groups do.
#pragma once

#include <cmath>

#include "ops/mla_decode/sm90.cuh"

namespace sluice::mla_sm90 {

using cuda::inverse_of, cuda::log2_of, cuda::row_max, cuda::row_sum, cuda::shift_of;

template <int kMine>
class Attention {
 public:
  __device__ Attention(const Params& p, Shared& shared)
      : c_(p.call),
        work_(shared.work),
        shared_(shared),
        count_(shared.stretch.count),
        by_engine_(p.by_engine ? int(work_.list.count / kBlock - shared.stretch.begin) : 0),
        thread_(int(threadIdx.x) % kGroup),
        lane_(thread_ % kWarp),
        warp_(__shfl_sync(0xffffffffu, thread_ / kWarp, 0)) {
    for (int half = 0; half < 2; ++half) limit_[half] = int(work_.limit(row(half)) - shared.stretch.begin * kBlock);
  }

  __device__ void run() {
    load_query();
    if constexpr (kMine == 0) run_even();
    else run_odd();
    finish();
  }

 private:
  __device__ int row(int half) const { return warp_ * 16 + lane_ / 4 + 8 * half; }

  __device__ void load_query() {
    constexpr int kStripRows = 2 * kGroup / 8;  // eight threads a row, 16 bytes each of every tile
#pragma unroll
    for (int first = 0; first < kRows; first += kStripRows) {
      const int row = first + int(threadIdx.x) / 8, piece = int(threadIdx.x) % 8;
      uint4 x[kTiles] = {};
      if (work_.has(c_, row)) {
        const int64_t token = work_.token + work_.token_of(row), head = work_.head_of(row);
        const char* nope = c_.q_nope + token * c_.q_nope_row + head * c_.q_nope_head;
#pragma unroll
        for (int t = 0; t < kRopeTile; ++t) x[t] = query_chunk(nope, c_.q_is_f32, t * 8 + piece);
        x[kRopeTile] = query_chunk(c_.q_pe + token * c_.q_pe_row + head * c_.q_pe_head, c_.q_is_f32, piece);
      }
#pragma unroll
      for (int t = 0; t < kTiles; ++t) *reinterpret_cast<uint4*>(shared_.query[t] + place_in_tile(row, piece)) = x[t];
    }
    ptx::fence_proxy_async();
    ptx::named_barrier(kComputeBarrier, 2 * kGroup);
  }

  // --- the two groups' turns ---

  __device__ void run_even() {
    for (int n = 0; n < count_; n += 2) {
      start_scores(n);
      ptx::wgmma_wait<0>();
      float factor[2];
      weigh(n, factor);
      hand_over();
      ptx::named_barrier_arrive(kEvenReady + warp_, 2 * kWarp);
      rescale(factor);
      start_sum(n);
      finish_sum(n, kOwn);
      if (n + 1 == count_) return;
      ptx::named_barrier(kOddReady + warp_, 2 * kWarp);
      take_over(factor);
      rescale(factor);
      start_sum(n + 1);
      finish_sum(n + 1, kOther);
    }
  }

  // The even block's sum goes ahead of the odd one's scores, so that its place is filled while the odd block is at work.
  __device__ void run_odd() {
    for (int n = 0; n < count_; n += 2) {
      ptx::named_barrier(kEvenReady + warp_, 2 * kWarp);
      float factor[2];
      take_over(factor);
      rescale(factor);
      start_sum(n);
      finish_sum(n, kOther);
      if (n + 1 == count_) return;
      start_scores(n + 1);
      ptx::wgmma_wait<0>();
      weigh(n + 1, factor);
      hand_over();
      ptx::named_barrier_arrive(kOddReady + warp_, 2 * kWarp);
      rescale(factor);
      start_sum(n + 1);
      finish_sum(n + 1, kOwn);
    }
  }

  // Weights and maxima to the other group, and from it: with the factors that bring what this one has to the new maxima.
  __device__ void hand_over() {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      shared_.weights[i][thread_] = make_uint4(weights_[i][0], weights_[i][1], weights_[i][2], weights_[i][3]);
    if (lane_ % 4 == 0) shared_.most[kMine][row(0)] = most_[0], shared_.most[kMine][row(1)] = most_[1];
  }
  __device__ void take_over(float (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint4 x = shared_.weights[i][thread_];
      weights_[i][0] = x.x, weights_[i][1] = x.y, weights_[i][2] = x.z, weights_[i][3] = x.w;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float most = shared_.most[1 - kMine][row(half)];
      factor[half] = ptx::exp2_approx(most_[half] - shift_of(most));
      most_[half] = most, total_[half] *= factor[half];
    }
  }

  // --- scores ---

  // Q K^T of block n, this group's; not waited for.
  __device__ void start_scores(int n) {
    const uint64_t query = ptx::wgmma_operand(ptx::shared_address(shared_.query), 0, 1024);
    const uint64_t keys = ptx::wgmma_operand(ptx::shared_address(shared_.keys[kMine]), 0, 1024);
    const auto multiply = [&](int tile, bool more) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint32_t at = uint32_t(tile * kTileBytes + k * 32);
        ptx::wgmma_m64n64k16_bf16<ptx::Major::kSummed, ptx::Major::kSummed>(scores_, ptx::wgmma_advance(query, at),
                                                                            ptx::wgmma_advance(keys, at), more || k > 0);
      }
    };
    const uint32_t phase = uint32_t(n / 2) & 1;
    ptx::mbarrier_wait(&shared_.full[kMine][kOwn], phase);
    if (n >= by_engine_) ptx::fence_proxy_async();
    ptx::wgmma_fence();
    multiply(kRopeTile, false);
#pragma unroll
    for (int t = 0; t < kHalfTiles; ++t) multiply(kMine * kHalfTiles + t, true);
    ptx::mbarrier_wait(&shared_.full[kMine][kOther], phase);
    if (n >= by_engine_) ptx::fence_proxy_async();
    ptx::wgmma_fence();
#pragma unroll
    for (int t = 0; t < kHalfTiles; ++t) multiply((1 - kMine) * kHalfTiles + t, true);
    ptx::wgmma_commit();
  }

  // Scores to weights; the rows' maxima brought up to date, in units of log2, and the factors that bring older sums to them.
  __device__ void weigh(int n, float (&factor)[2]) {
    ptx::pin(scores_);
    mask(n);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -INFINITY;
#pragma unroll
      for (int t = 0; t < 8; ++t) most = fmaxf(most, fmaxf(scores_[4 * t + 2 * half], scores_[4 * t + 2 * half + 1]));
      most = fmaxf(most_[half], row_max(most) * c_.scale_log2);
      const float shift = shift_of(most);
      factor[half] = ptx::exp2_approx(most_[half] - shift);
      float sum = 0;
#pragma unroll
      for (int t = 0; t < 8; ++t) {
        const float x = ptx::exp2_approx(fmaf(scores_[4 * t + 2 * half], c_.scale_log2, -shift));
        const float y = ptx::exp2_approx(fmaf(scores_[4 * t + 2 * half + 1], c_.scale_log2, -shift));
        sum += x + y;
        weights_[t / 2][t % 2 * 2 + half] = ptx::pack_bf16(x, y);
      }
      most_[half] = most, total_[half] = fmaf(total_[half], factor[half], sum);
    }
  }
  // -inf where a row does not see a key.
  __device__ void mask(int n) {
    const uint32_t valid[2] = {shared_.valid[kMine][0], shared_.valid[kMine][1]};
    const int seen[2] = {limit_[0] - n * kBlock, limit_[1] - n * kBlock};
    if ((valid[0] & valid[1]) == ~0u && min(seen[0], seen[1]) >= kBlock) return;
    const int first = ptx::opaque(lane_ % 4 * 2);
#pragma unroll
    for (int t = 0; t < 8; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = t * 8 + first + e % 2;
        if (!(valid[t / 4] >> (key % 32) & 1) || key >= seen[e / 2]) scores_[4 * t + e] = -INFINITY;
      }
  }

  // --- the weighted sum ---

  __device__ void rescale(const float (&factor)[2]) {
    if (!__any_sync(0xffffffffu, factor[0] != 1 || factor[1] != 1)) return;
#pragma unroll
    for (int i = 0; i < 128; ++i) sums_[i] *= factor[i / 2 % 2];
  }
  // This group's columns of P V of block n; not waited for.
  __device__ void start_sum(int n) {
    const uint64_t values = ptx::wgmma_operand(ptx::shared_address(shared_.keys[n % 2][kMine * kHalfTiles]), kTileBytes, 1024);
    ptx::pin(sums_);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      ptx::wgmma_m64n256k16_bf16<ptx::Major::kOther>(sums_, weights_[k], ptx::wgmma_advance(values, uint32_t(k * 16 * 128)), true);
    ptx::wgmma_commit();
  }
  // Waits for it, and gives back a part of the block's place.
  __device__ void finish_sum(int n, Part part) {
    ptx::wgmma_wait<0>();
    ptx::pin(sums_);
    __syncwarp();
    if (lane_ == 0) ptx::mbarrier_arrive(&shared_.empty[n % 2][part]);
  }

  // --- results ---

  __device__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = row_sum(total_[half]);
      if (lane_ % 4 == 0) shared_.total[kMine][row(half)] = total;
    }
    ptx::named_barrier(kComputeBarrier, 2 * kGroup);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (work_.has(c_, row(half))) store_row(half);
  }
  __device__ void store_row(int half) {
    const int at = row(half);
    const float total = shared_.total[0][at] + shared_.total[1][at], inverse = inverse_of(total);
    const int64_t token = work_.token + work_.token_of(at), head = work_.head_of(at);
    const int64_t part = (token * c_.heads + head) * c_.cut.splits + work_.split;
    const bool whole = c_.cut.splits == 1, wide = !whole || c_.o_is_f32;
    char* out = whole ? c_.o + token * c_.o_row + head * c_.o_head : reinterpret_cast<char*>(c_.part_o + part * kLatent);
#pragma unroll
    for (int t = 0; t < kHalf / 8; ++t) {
      const int column = kMine * kHalf + t * 8 + lane_ % 4 * 2;
      const float x = sums_[4 * t + 2 * half] * inverse, y = sums_[4 * t + 2 * half + 1] * inverse;
      if (wide) *reinterpret_cast<float2*>(out + column * 4) = make_float2(x, y);
      else *reinterpret_cast<uint32_t*>(out + column * 2) = ptx::pack_bf16(x, y);
    }
    if (kMine != 0 || lane_ % 4 != 0) return;
    const float log = log2_of(most_[half], total);
    if (!whole) c_.part_lse[part] = log;
    else if (c_.lse) c_.lse[token * c_.lse_row + head * c_.lse_head] = log * c_.to_base;
  }

  const Call& c_;
  const Work& work_;
  Shared& shared_;
  const int count_, by_engine_;  // blocks of keys; the first ones do not come by threads' stores
  const int thread_, lane_, warp_;
  int limit_[2];                                            // entries that the thread's rows see, from the stretch's first on
  float most_[2] = {-INFINITY, -INFINITY}, total_[2] = {};  // of those rows; total: of the thread's keys of the group's blocks
  float scores_[32];
  uint32_t weights_[4][4];
  float sums_[128] = {};
};

}  // namespace sluice::mla_sm90
