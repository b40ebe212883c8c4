// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "core/simd_plain.h"
#include "ops/rope/rope.h"

namespace sluice {

Status rope_reference(Context&, const RopeArgs&, std::byte*);
Status rope_cpu(Context&, const RopeArgs&, std::byte*);
Status rope_avx2(Context&, const RopeArgs&, std::byte*);
Status rope_avx512(Context&, const RopeArgs&, std::byte*);
Status rope_cuda(Context&, const RopeArgs&, std::byte*);

// The position that turns pair i of token t: that of the token, or with mrope that of the pair's axis.
SLUICE_INLINE int32_t rope_position(const RopeArgs& a, int64_t t, int64_t i) {
  const int32_t* p = static_cast<const int32_t*>(a.positions.data);
  if (a.positions.rank == 1) return p[t * a.positions.stride[0]];
  const int64_t axis = i % 3 != 0 && i < 3 * a.mrope_section[i % 3] ? i % 3 : 0;
  return p[axis * a.positions.stride[0] + t * a.positions.stride[1]];
}

// Elements of a token's cosine table with room for whole vectors, and the bytes of all threads' tables.
constexpr int64_t rope_table_length(const RopeArgs& a) { return round_up(2 * a.inv_freq.shape[0], 16); }
size_t rope_workspace(const Context& ctx, const RopeArgs& a);

}  // namespace sluice
