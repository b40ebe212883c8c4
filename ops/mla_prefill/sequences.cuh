// A call's sequences on a GPU, and tiles of their rows.
#pragma once

#include "core/cuda/rows.cuh"
#include "ops/mla_prefill/forms.h"

namespace sluice::cuda {

struct MlaSequences {
  const int32_t *cu_q, *cu_k;
  int count;
  bool causal;

  explicit MlaSequences(const MlaPrefillArgs& a)
      : cu_q(a.cu_seqlens_q.as<int32_t>()),
        cu_k(a.cu_seqlens_k.as<int32_t>()),
        count(int(a.cu_seqlens_q.dim(0)) - 1),
        causal(a.causal) {}

  __device__ MlaSequence at(int b) const {
    return {cu_q[b], int64_t(cu_q[b + 1]) - cu_q[b], cu_k[b], int64_t(cu_k[b + 1]) - cu_k[b]};
  }
  // The sequence of a row of q; all threads of the warp call it.
  __device__ MlaSequence of_row(int64_t row) const { return at(sequence_of<kWarp>(cu_q, count, row)); }
};

// A tile of a sequence's rows.
struct MlaTile {
  int index = 0;  // the sequence's
  MlaSequence sequence;
  int64_t begin = 0;  // its first row, of the sequence's
  bool found = false;

  // Tiles are numbered sequence by sequence, in each the last rows first, which have the most keys. All threads of a warp call it.
  // Sequences has `cu_q` and `count`, and at(i) makes a MlaSequence.
  template <class Sequences>
  __device__ MlaTile(const Sequences& all, int64_t tile, int rows) {
    const int lane = int(threadIdx.x) % kWarp;
    int64_t before = 0;
    for (int first = 0; first < all.count && !found; first += kWarp) {
      int64_t mine = 0;
      if (first + lane < all.count) mine = (all.cu_q[first + lane + 1] - all.cu_q[first + lane] + rows - 1) / rows;
      int64_t behind = mine;  // up to this lane's sequence, it included
      for (int d = 1; d < kWarp; d *= 2) {
        const int64_t x = __shfl_up_sync(0xffffffffu, behind, d);
        if (lane >= d) behind += x;
      }
      const uint32_t further = __ballot_sync(0xffffffffu, before + behind > tile);
      if (further) {
        const int at = __ffs(int(further)) - 1;
        index = first + at, sequence = all.at(index), found = true;
        begin = (before + __shfl_sync(0xffffffffu, behind, at) - 1 - tile) * rows;
      }
      before += __shfl_sync(0xffffffffu, behind, kWarp - 1);
    }
  }
};

}  // namespace sluice::cuda
