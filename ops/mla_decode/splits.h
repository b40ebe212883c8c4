// How many stretches a list of keys is cut into.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice {

inline constexpr int kMostSplits = 64;

// The number that takes the least time: rounds of blocks of threads over the GPU, each as long as its blocks of 64 keys and what
// begins and ends it, and the merge. `tiles` are the blocks of threads of one stretch.
inline int splits_of(int64_t tiles, int64_t key_blocks, int sms) {
  constexpr int64_t kEnds = 2, kMerge = 2;  // in units of a block of keys
  int best = 1;
  int64_t least = INT64_MAX;
  for (int s = 1; s <= kMostSplits && s <= std::max<int64_t>(key_blocks, 1) && (s == 1 || tiles * s <= 4 * int64_t(sms)); ++s) {
    const int64_t rounds = (tiles * s + sms - 1) / sms;
    const int64_t time = rounds * ((key_blocks + s - 1) / s + kEnds) + (s > 1 ? kMerge + s / 16 : 0);
    if (time < least) least = time, best = s;
  }
  return best;
}

}  // namespace sluice
