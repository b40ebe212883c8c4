// How a call is cut into work on the CPU: tiles of heads of one row, lists of keys into spans. Holds no arithmetic on values, and
// no choice made here changes a bit.
#pragma once

#include "ops/mla_decode/attend.h"
#include "ops/mla_decode/keys.h"

namespace sluice {

inline constexpr int64_t kMlaTileHeads = 64;  // their queries and outputs, and a block of keys, stay in L2

struct MlaPlan {
  MlaDims dims;
  int64_t heads, tiles_of_row, tiles;  // heads of a tile, at most
  int64_t most_spans;                  // of the longest list
  bool split;                          // spans are tasks, with results of their own
  size_t thread_bytes, bytes;          // scratch: each thread's, then the spans' results
};

MlaPlan plan_mla_decode(const Context& ctx, const MlaDecodeArgs& a);

}  // namespace sluice
