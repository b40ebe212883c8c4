// A call's sequences on a GPU.
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

}  // namespace sluice::cuda
