// The implementations, one a file. There is no vector form: it is counting.
#pragma once

#include "ops/moe_align/moe_align.h"

namespace sluice {

Status moe_align_reference(Context&, const MoeAlignArgs&, std::byte*);
Status moe_align_cpu(Context&, const MoeAlignArgs&, std::byte*);
Status moe_align_cuda(Context&, const MoeAlignArgs&, std::byte*);

// How the kernels share out more entries than one launch takes: a tile is a block's, a thread has one entry a round. A byte counts
// a warp's entries of all rounds, which so are at most 7. Each block reads the numbers of all tiles and experts, so tiles are few.
inline constexpr int kMoeAlignThreads = 1024, kMoeAlignMostRounds = 7;
struct MoeAlignTiles {
  int32_t rounds = 0;
  int64_t count = 0;  // 0: one launch, without a workspace

  MoeAlignTiles(int64_t entries, int64_t experts) {
    constexpr int64_t kOneLaunch = 8192, kFewExperts = 256;
    if (entries <= kOneLaunch) return;
    const int64_t enough = experts <= kFewExperts ? 128 : 64;
    rounds = int32_t(std::min<int64_t>(ceil_div(entries, kMoeAlignThreads * enough), kMoeAlignMostRounds));
    count = ceil_div(entries, int64_t(rounds) * kMoeAlignThreads);
  }
};

size_t moe_align_cpu_workspace(const Context& ctx, const MoeAlignArgs& a);
size_t moe_align_cuda_workspace(const Context& ctx, const MoeAlignArgs& a);

// The number of an expert among the local ones, or -1.
constexpr int32_t moe_align_local(const int32_t* map, int32_t first, int32_t count, int32_t expert) {
  if (map) return map[expert];
  return expert >= first && (count < 0 || expert - first < count) ? expert - first : -1;
}

}  // namespace sluice
