// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "core/simd_plain.h"
#include "ops/mla_prefill/mla_prefill.h"

namespace sluice {

Status mla_prefill_reference(Context&, const MlaPrefillArgs&, std::byte*);
Status mla_prefill_cpu(Context&, const MlaPrefillArgs&, std::byte*);
Status mla_prefill_avx2(Context&, const MlaPrefillArgs&, std::byte*);
Status mla_prefill_avx512(Context&, const MlaPrefillArgs&, std::byte*);
Status mla_prefill_cuda(Context&, const MlaPrefillArgs&, std::byte*);
Status mla_prefill_cuda_mma(Context&, const MlaPrefillArgs&, std::byte*);
Status mla_prefill_sm90(Context&, const MlaPrefillArgs&, std::byte*);

size_t mla_prefill_workspace(const Context&, const MlaPrefillArgs&);  // of the vector forms
size_t mla_prefill_sm90_workspace(const Context&, const MlaPrefillArgs&);
Can mla_prefill_can_mma(const MlaPrefillArgs&);
Can mla_prefill_can_sm90(const MlaPrefillArgs&);

// A sequence of a call: its rows and its keys.
struct MlaSequence {
  int64_t first_row, rows, first_key, keys;
  // Keys that row i sees.
  constexpr int64_t limit(int64_t i, bool causal) const {
    const int64_t n = causal ? keys - rows + i + 1 : keys;
    return n < 0 ? 0 : n;
  }
};
SLUICE_INLINE MlaSequence mla_sequence(const MlaPrefillArgs& a, int64_t b) {
  const int32_t *q = a.cu_seqlens_q.as<int32_t>() + b, *k = a.cu_seqlens_k.as<int32_t>() + b;
  return {q[0], int64_t(q[1]) - q[0], k[0], int64_t(k[1]) - k[0]};
}

}  // namespace sluice
