// The implementations, one a file. There is no vector form: it is counting.
#pragma once

#include "ops/moe_align/moe_align.h"

namespace sluice {

Status moe_align_reference(Context&, const MoeAlignArgs&, std::byte*);
Status moe_align_cpu(Context&, const MoeAlignArgs&, std::byte*);
Status moe_align_cuda(Context&, const MoeAlignArgs&, std::byte*);

inline constexpr int kMoeAlignTile = 1024;  // entries of a block of the kernels; more than one tile needs a workspace

size_t moe_align_cpu_workspace(const Context& ctx, const MoeAlignArgs& a);
size_t moe_align_cuda_workspace(const Context& ctx, const MoeAlignArgs& a);

// The number of an expert among the local ones, or -1.
constexpr int32_t moe_align_local(const int32_t* map, int32_t first, int32_t count, int32_t expert) {
  if (map) return map[expert];
  return expert >= first && (count < 0 || expert - first < count) ? expert - first : -1;
}

}  // namespace sluice
