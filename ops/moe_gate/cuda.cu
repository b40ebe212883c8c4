// A warp has a row, its lane l the experts l, l + 32, ..., so that no group of experts and no number of them needs a layout of its
// own. What lanes exchange are keys: integers that rise with the score, whose largest a warp finds in one instruction (redux). The
// experts are chosen in three steps: a key that at least top_k experts reach, from the lanes' best; the few that reach it, packed
// into shared memory in the order of their indices; each one's place among them. Where rows are few a block has a row and does the
// same in a shorter chain.
#include <algorithm>
#include <climits>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"
#include "ops/moe_gate/forms.h"
#include "ops/moe_gate/score.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr uint32_t kAll = 0xffffffffu;

// The arithmetic of score.h: rounded one by one, never fused.
struct Lane {
  using F = float;
  static __device__ float set1(float x) { return x; }
  static __device__ float add(float a, float b) { return __fadd_rn(a, b); }
  static __device__ float sub(float a, float b) { return __fsub_rn(a, b); }
  static __device__ float mul(float a, float b) { return __fmul_rn(a, b); }
  static __device__ float div(float a, float b) { return __fdiv_rn(a, b); }
  // Correctly rounded, for 1 <= x < 2^126: what __frcp_rn does where it needs no case of its own, and without its branch.
  static __device__ float reciprocal(float x) {
    const float y = ptx::rcp_approx(x);
    return __fmaf_rn(y, __fmaf_rn(-x, y, 1.0f), y);
  }
  static __device__ float min(float a, float b) { return a < b ? a : b; }
  static __device__ float max(float a, float b) { return a > b ? a : b; }
  // As simd::Plain does it: two steps, each a power of two within the normal range.
  static __device__ float scale_by_power_of_2(float a, float n) {
    constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23, in whose last places an integer added to it stands
    const int whole = __float_as_int(__fadd_rn(n, kToInteger)) - __float_as_int(kToInteger), half = whole >> 1;
    return __fmul_rn(__fmul_rn(a, __int_as_float((half + 127) << 23)), __int_as_float((whole - half + 127) << 23));
  }
};

struct Gate {
  const void* logits;
  const float* bias;
  float* weights;
  int32_t* ids;
  int64_t tokens, logit_stride, weight_stride, id_stride;  // strides of rows in elements
  int experts, top_k, n_group, group_size, topk_group;
  uint32_t group_of_width;  // 65536 / (group_size / 32), rounded up: below 32 a product and a shift are the quotient
  bool softmax, by_logit, renormalize, shared;
  float scale, shared_weight;
};

// A warp's, for up to 32 * R experts.
template <int R>
struct Scratch {
  int32_t key[kWarp * R], id[kWarp * R];
  int32_t chosen[kWarp];
};

// What a softmax' scores are made from.
struct Softmax {
  float most = 0, sum = 0;
};

__device__ float score_of(const Gate& g, float logit, const Softmax& row) {
  if (!g.softmax) return moe_gate_sigmoid<Lane>(logit);
  const float within = moe_gate_within<Lane>(logit);
  return moe_gate_softmax<Lane>(within, moe_gate_weight<Lane>(within, row.most), row.sum);
}

template <int R>
__device__ Softmax softmax_of(const Gate& g, const float (&logit)[R], int lane) {
  Softmax row{.most = moe_gate_finite<Lane>(-INFINITY)};
#pragma unroll
  for (int j = 0; j < R; ++j) {
    const float finite = moe_gate_finite<Lane>(moe_gate_within<Lane>(logit[j]));
    row.most = Lane::max(row.most, kWarp * j + lane < g.experts ? finite : row.most);
  }
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) row.most = Lane::max(row.most, __shfl_xor_sync(kAll, row.most, apart));
#pragma unroll
  for (int j = 0; j < R; ++j) {
    const float weight = moe_gate_weight<Lane>(moe_gate_within<Lane>(logit[j]), row.most);
    row.sum = __fadd_rn(row.sum, kWarp * j + lane < g.experts ? weight : 0);
  }
  row.sum = group_sum(row.sum);
  return row;
}

// Groups of whole warps' widths: bit i of the result says whether group i is chosen.
template <int R>
__device__ uint32_t groups_of_registers(const Gate& g, const int (&key)[R], int lane) {
  const int registers = g.group_size / kWarp;
  int first = kGateExcluded, second = kGateExcluded, mine = kGateExcluded;  // mine: of group `lane`
  int group = 0, in_group = 0;
#pragma unroll
  for (int j = 0; j < R; ++j) {
    second = max(second, min(first, key[j])), first = max(first, key[j]);
    if (++in_group < registers) continue;
    const int best = __reduce_max_sync(kAll, first);
    const uint32_t has_best = __ballot_sync(kAll, first == best);
    if (lane == __ffs(has_best) - 1) first = second;
    const int next = __reduce_max_sync(kAll, first);
    const int of_group = moe_gate_group_key(best, next);  // the same in every lane: no branch for one
    mine = lane == group ? of_group : mine;
    ++group, in_group = 0, first = second = kGateExcluded;
  }
  int better = 0;
  for (int i = 0; i < g.n_group; ++i) {
    const int other = __shfl_sync(kAll, mine, i);
    better += other > mine || (other == mine && i < lane);
  }
  return __ballot_sync(kAll, lane < g.n_group && better < g.topk_group);
}

// The two best keys of a group.
struct BestTwo {
  int first = kGateExcluded, second = kGateExcluded;

  __device__ BestTwo with(const BestTwo& o) const {
    return {.first = max(first, o.first), .second = max(max(second, o.second), min(first, o.first))};
  }
  __device__ BestTwo of_lane(int apart) const {
    return {.first = __shfl_xor_sync(kAll, first, apart), .second = __shfl_xor_sync(kAll, second, apart)};
  }
};

// Groups of a warp's width, as many as a power of two: with each exchange a lane keeps half of its groups and half as many lanes
// have each, so that all of them cost little more than one. Excludes the groups that are not chosen.
template <int R>
__device__ void exclude_widths(const Gate& g, int (&key)[R], int lane) {
  static_assert(R == 4 || R == 8);
  constexpr int kLanes = kWarp / R;  // of a group in the end: R neighbours
  BestTwo best[R];
#pragma unroll
  for (int j = 0; j < R; ++j) best[j].first = key[j];
#pragma unroll
  for (int kept = R / 2; kept > 0; kept /= 2) {
    const int apart = kept * kLanes;
    const bool upper = lane & apart;
#pragma unroll
    for (int j = 0; j < kept; ++j) {
      const BestTwo sent = upper ? best[j] : best[j + kept], mine = upper ? best[j + kept] : best[j];
      best[j] = mine.with(sent.of_lane(apart));
    }
  }
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) best[0] = best[0].with(best[0].of_lane(apart));
  const int mine = moe_gate_group_key(best[0].first, best[0].second), group = lane / kLanes;
  int better = 0;
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int other = __shfl_sync(kAll, mine, i * kLanes);
    better += other > mine || (other == mine && i < group);
  }
  const uint32_t chosen = __ballot_sync(kAll, better < g.topk_group);
#pragma unroll
  for (int j = 0; j < R; ++j)
    if (!(chosen >> (j * kLanes) & 1)) key[j] = kGateExcluded;
}

template <int R>
__device__ void exclude_registers(const Gate& g, int (&key)[R], int lane) {
  const uint32_t chosen = groups_of_registers(g, key, lane);
  const int registers = g.group_size / kWarp;
  int group = 0, in_group = 0;
#pragma unroll
  for (int j = 0; j < R; ++j) {
    if (!(chosen >> group & 1)) key[j] = kGateExcluded;
    if (++in_group == registers) ++group, in_group = 0;
  }
}

// Groups of any size: a lane looks through those that it has.
template <int R>
__device__ void exclude_any(const Gate& g, int (&key)[R], int lane, Scratch<R>& s) {
#pragma unroll
  for (int j = 0; j < R; ++j) s.key[kWarp * j + lane] = key[j];
  __syncwarp();
  for (int group = lane; group < g.n_group; group += kWarp) {
    int first = kGateExcluded, second = kGateExcluded;
    for (int i = group * g.group_size; i < (group + 1) * g.group_size; ++i)
      second = max(second, min(first, s.key[i])), first = max(first, s.key[i]);
    s.id[group] = moe_gate_group_key(first, second);
  }
  __syncwarp();
  for (int group = lane; group < g.n_group; group += kWarp) {
    const int mine = s.id[group];
    int better = 0;
    for (int i = 0; i < g.n_group; ++i) better += s.id[i] > mine || (s.id[i] == mine && i < group);
    if (better < g.topk_group) continue;
    for (int i = group * g.group_size; i < (group + 1) * g.group_size; ++i) s.key[i] = kGateExcluded;
  }
  __syncwarp();
#pragma unroll
  for (int j = 0; j < R; ++j) key[j] = s.key[kWarp * j + lane];
  __syncwarp();  // before the scratch is used again
}

// A key that at least top_k are not below: the top_k-th of the lanes' best, or less where lanes have equal ones.
template <int R>
__device__ int reached_by_enough(const int (&key)[R], int top_k) {
  int left = kGateExcluded, most = kGateExcluded;
#pragma unroll
  for (int j = 0; j < R; ++j) left = max(left, key[j]);
  for (int i = 0; i < top_k; ++i) {
    most = __reduce_max_sync(kAll, left);
    if (left == most) left = kGateExcluded;
  }
  return max(most, kGateNan);  // the lowest that may be chosen
}

// Packs the experts that may be among the chosen in rising order of index, and gives their number: those above `floor`, and of
// those at it as many as could be needed.
template <int R>
__device__ int pack_candidates(const int (&key)[R], int floor, int top_k, int lane, Scratch<R>& s) {
  const uint32_t before = (1u << lane) - 1;
  int count = 0, at_floor = 0;
#pragma unroll
  for (int j = 0; j < R; ++j) {
    if (!__ballot_sync(kAll, key[j] >= floor)) continue;
    const uint32_t at = __ballot_sync(kAll, key[j] == floor);
    const bool taken = key[j] > floor || (key[j] == floor && at_floor + __popc(at & before) < top_k);
    const uint32_t all_taken = __ballot_sync(kAll, taken);
    const int place = count + __popc(all_taken & before);
    if (taken) s.key[place] = key[j], s.id[place] = kWarp * j + lane;
    count += __popc(all_taken), at_floor += __popc(at);
  }
  return count;
}

// The expert in place `lane` of the chosen; the last place's behind it.
template <int R>
__device__ int choose(const int (&key)[R], int top_k, int lane, Scratch<R>& s) {
  const int count = pack_candidates(key, reached_by_enough(key, top_k), top_k, lane, s);
  __syncwarp();
  for (int c = lane; c < count; c += kWarp) {
    const int mine = s.key[c];
    int better = 0;
#pragma unroll 4
    for (int i = 0; i < count; ++i) better += s.key[i] > mine || (s.key[i] == mine && i < c);
    if (better < top_k) s.chosen[better] = s.id[c];
  }
  __syncwarp();
  const int id = s.chosen[min(lane, top_k - 1)];
  __syncwarp();  // before the next row's
  return id;
}

// The scorings apart, so that a lane's scores are computed side by side.
template <int R, bool kFull>
__device__ Softmax keys_of(const Gate& g, const float (&logit)[R], const float (&bias)[R], int lane, int (&key)[R]) {
  const Softmax row = g.softmax ? softmax_of(g, logit, lane) : Softmax();
  float c[R];
#pragma unroll
  for (int j = 0; j < R; ++j) c[j] = logit[j];
  if (!g.softmax) {
#pragma unroll
    for (int j = 0; j < R; ++j) c[j] = __fadd_rn(moe_gate_sigmoid<Lane>(logit[j]), bias[j]);
  } else if (!g.by_logit) {
#pragma unroll
    for (int j = 0; j < R; ++j) c[j] = __fadd_rn(score_of(g, logit[j], row), bias[j]);
  }
#pragma unroll
  for (int j = 0; j < R; ++j) key[j] = kFull || kWarp * j + lane < g.experts ? moe_gate_key(c[j]) : kGateExcluded;
  return row;
}

// Writes a row from its chosen experts, in their lanes.
__device__ void put_row(const Gate& g, int64_t row, int lane, int id, float score) {
  float sum = lane < g.top_k ? score : 0;
  for (int apart = g.top_k > 8 ? kWarp / 2 : 4; apart > 0; apart /= 2)  // zeros change no sum
    sum = __fadd_rn(sum, __shfl_xor_sync(kAll, sum, apart));
  const float divisor = moe_gate_divisor<Lane>(sum, g.renormalize);
  float* weights = g.weights + row * g.weight_stride;
  int32_t* ids = g.ids + row * g.id_stride;
  if (lane < g.top_k) weights[lane] = __fmul_rn(__fdiv_rn(score, divisor), g.scale), ids[lane] = id;
  if (lane == 0 && g.shared) weights[g.top_k] = g.shared_weight, ids[g.top_k] = g.experts;
}

template <int R, bool kFull, class X>
__device__ void gate_row(const Gate& g, int64_t row, const float (&bias)[R], int lane, Scratch<R>& s) {
  const X* logits = static_cast<const X*>(g.logits) + row * g.logit_stride;
  float logit[R];
#pragma unroll
  for (int j = 0; j < R; ++j) logit[j] = kFull || kWarp * j + lane < g.experts ? to_float(logits[kWarp * j + lane]) : 0;
  int key[R];
  const Softmax softmax = keys_of<R, kFull>(g, logit, bias, lane, key);
  if (g.topk_group < g.n_group) {
    const bool widths = g.group_size == kWarp && g.n_group == R;
    if constexpr (R <= 8)
      if (widths) exclude_widths(g, key, lane);
    if (R > 8 || !widths) {
      if (g.group_size % kWarp == 0) exclude_registers(g, key, lane);
      else exclude_any(g, key, lane, s);
    }
  }
  const int id = choose(key, g.top_k, lane, s);
  put_row(g, row, lane, id, score_of(g, to_float(logits[id]), softmax));
}

// kFull: experts are whole widths of the registers.
template <int R, bool kFull, class X>
__global__ void __launch_bounds__(kThreads) moe_gate_kernel(const __grid_constant__ Gate g) {
  __shared__ Scratch<R> scratch[kWarps];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  float bias[R];  // a weight: there before the kernel in front of this one
#pragma unroll
  for (int j = 0; j < R; ++j) bias[j] = g.bias && kWarp * j + lane < g.experts ? g.bias[kWarp * j + lane] : 0;
  wait_for_previous_kernel();
  for (int64_t row = int64_t(blockIdx.x) * kWarps + warp; row < g.tokens; row += int64_t(gridDim.x) * kWarps)
    gate_row<R, kFull, X>(g, row, bias, lane, scratch[warp]);
}

// --- a block for a row, where rows are few: the same choice in a shorter chain ---

constexpr int kRowWarps = 4;  // of a row, each with R registers' width of neighbouring experts

template <int R>
struct RowScratch {
  static constexpr int kWidths = kRowWarps * R;  // of 32 experts
  float weight[kWidths * kWarp];                 // of a softmax
  int32_t first[kWidths], second[kWidths];       // the best keys of a width
  int32_t best[kRowWarps][kWarp];
  int32_t count;                   // of candidates
  int64_t order[kWidths * kWarp];  // of a candidate, the larger the better
  float score[kWidths * kWarp];
  int32_t chosen[kWarp];
  float chosen_score[kWarp];
};

// An expert's place among others as one number: its key, and of equal ones the lower index first.
__device__ int64_t order_of(int32_t key, int id) { return int64_t(key) << 32 | uint32_t(INT_MAX - id); }
__device__ int id_of(int64_t order) { return INT_MAX - int(uint32_t(order)); }

template <int R>
struct RowOfBlock {
  int lane, warp, width;  // its warp's first width
  float logit[R], score[R];
  int key[R];
  Softmax softmax;

  __device__ bool has(const Gate& g, int j) const { return kWarp * (width + j) + lane < g.experts; }
};

// As softmax_of, the strands through shared memory.
template <int R>
__device__ void softmax_of_block(const Gate& g, RowOfBlock<R>& row, RowScratch<R>& s) {
  row.softmax.most = moe_gate_finite<Lane>(-INFINITY);
#pragma unroll
  for (int j = 0; j < R; ++j) {
    const float finite = moe_gate_finite<Lane>(moe_gate_within<Lane>(row.logit[j]));
    row.softmax.most = Lane::max(row.softmax.most, row.has(g, j) ? finite : row.softmax.most);
  }
  s.best[row.warp][row.lane] = moe_gate_key(row.softmax.most);
  __syncthreads();
  int most = s.best[0][row.lane];
#pragma unroll
  for (int w = 1; w < kRowWarps; ++w) most = max(most, s.best[w][row.lane]);
  row.softmax.most = moe_gate_value(__reduce_max_sync(kAll, most));
#pragma unroll
  for (int j = 0; j < R; ++j) {
    const float weight = moe_gate_weight<Lane>(moe_gate_within<Lane>(row.logit[j]), row.softmax.most);
    s.weight[kWarp * (row.width + j) + row.lane] = row.has(g, j) ? weight : 0;
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kRowWarps * R; ++j) row.softmax.sum = __fadd_rn(row.softmax.sum, s.weight[kWarp * j + row.lane]);
  row.softmax.sum = group_sum(row.softmax.sum);
}

template <int R>
__device__ void keys_of_block(const Gate& g, const float (&bias)[R], RowOfBlock<R>& row, RowScratch<R>& s) {
  if (g.softmax) softmax_of_block(g, row, s);
#pragma unroll
  for (int j = 0; j < R; ++j) {
    float c = row.logit[j];
    if (!g.softmax) row.score[j] = moe_gate_sigmoid<Lane>(c), c = __fadd_rn(row.score[j], bias[j]);
    else if (!g.by_logit) c = __fadd_rn(score_of(g, c, row.softmax), bias[j]);
    row.key[j] = row.has(g, j) ? moe_gate_key(c) : kGateExcluded;
  }
}

// Groups of whole widths.
template <int R>
__device__ void exclude_of_block(const Gate& g, RowOfBlock<R>& row, RowScratch<R>& s) {
  const int widths = g.group_size / kWarp;  // of a group
#pragma unroll
  for (int j = 0; j < R; ++j) {
    const int best = __reduce_max_sync(kAll, row.key[j]);
    const uint32_t has_best = __ballot_sync(kAll, row.key[j] == best);
    const int next = __reduce_max_sync(kAll, row.lane == __ffs(has_best) - 1 ? kGateExcluded : row.key[j]);
    if (row.lane == 0) s.first[row.width + j] = best, s.second[row.width + j] = next;
  }
  __syncthreads();
  int first = kGateExcluded, second = kGateExcluded;
  if (row.lane < g.n_group) {
    for (int i = row.lane * widths; i < (row.lane + 1) * widths; ++i) {
      const int best = s.first[i];
      second = max(max(second, s.second[i]), min(first, best)), first = max(first, best);
    }
  }
  const int mine = moe_gate_group_key(first, second);
  int better = 0;
#pragma unroll 4
  for (int i = 0; i < g.n_group; ++i) {
    const int other = __shfl_sync(kAll, mine, i);
    better += other > mine || (other == mine && i < row.lane);
  }
  const uint32_t chosen = __ballot_sync(kAll, row.lane < g.n_group && better < g.topk_group);
#pragma unroll
  for (int j = 0; j < R; ++j)
    if (!(chosen >> (uint32_t(row.width + j) * g.group_of_width >> 16) & 1)) row.key[j] = kGateExcluded;
}

// As reached_by_enough, of the lanes of all warps: each counts the better ones, which is more instructions than to take the largest
// top_k times, and a shorter chain.
template <int R>
__device__ int reached_of_block(const Gate& g, const RowOfBlock<R>& row, RowScratch<R>& s) {
  int mine = row.key[0];
#pragma unroll
  for (int j = 1; j < R; ++j) mine = max(mine, row.key[j]);
  s.best[row.warp][row.lane] = mine;
  __syncthreads();
  mine = s.best[0][row.lane];
#pragma unroll
  for (int w = 1; w < kRowWarps; ++w) mine = max(mine, s.best[w][row.lane]);
  int better = 0;
#pragma unroll
  for (int i = 0; i < kWarp; ++i) better += __shfl_sync(kAll, mine, i) > mine;
  return max(__reduce_min_sync(kAll, better < g.top_k ? mine : INT_MAX), kGateNan);
}

// As pack_candidates, with their scores and in any order.
template <int R>
__device__ void pack_of_block(const Gate& g, const RowOfBlock<R>& row, int floor, RowScratch<R>& s) {
  const uint32_t before = (1u << row.lane) - 1;
  int count = 0, at_floor = 0, place[R];
#pragma unroll
  for (int j = 0; j < R; ++j) {
    const uint32_t at = __ballot_sync(kAll, row.key[j] == floor);
    const bool taken = row.key[j] > floor || (row.key[j] == floor && at_floor + __popc(at & before) < g.top_k);
    const uint32_t all_taken = __ballot_sync(kAll, taken);
    place[j] = taken ? count + __popc(all_taken & before) : -1;
    count += __popc(all_taken), at_floor += __popc(at);
  }
  int base = 0;
  if (count == 0) return;
  if (row.lane == 0) base = atomicAdd(&s.count, count);  // in shared memory; places are decided by key and index alone
  base = __shfl_sync(kAll, base, 0);
#pragma unroll
  for (int j = 0; j < R; ++j) {
    if (place[j] < 0) continue;
    const int at = base + place[j];
    s.order[at] = order_of(row.key[j], kWarp * (row.width + j) + row.lane);
    s.score[at] = g.softmax ? score_of(g, row.logit[j], row.softmax) : row.score[j];
  }
}

// One warp orders the candidates and writes the row.
template <int R>
__device__ void finish_of_block(const Gate& g, int64_t row, int lane, RowScratch<R>& s) {
  const int count = s.count;
  for (int c = lane; c < count; c += kWarp) {
    const int64_t mine = s.order[c];
    const float score = s.score[c];
    int better = 0;
#pragma unroll 4
    for (int i = 0; i < count; ++i) better += s.order[i] > mine;
    if (better < g.top_k) s.chosen[better] = id_of(mine), s.chosen_score[better] = score;
  }
  __syncwarp();
  const int id = s.chosen[lane];
  const float score = lane < g.top_k ? s.chosen_score[lane] : 0;
  put_row(g, row, lane, id, score);
}

template <int R, class X>
__global__ void __launch_bounds__(kRowWarps* kWarp) moe_gate_row_kernel(const __grid_constant__ Gate g) {
  __shared__ RowScratch<R> s;
  RowOfBlock<R> row{.lane = int(threadIdx.x) % kWarp, .warp = int(threadIdx.x) / kWarp};
  row.width = row.warp * R;
  float bias[R];
  const int first = kWarp * row.width + row.lane;
#pragma unroll
  for (int j = 0; j < R; ++j) bias[j] = g.bias && row.has(g, j) ? g.bias[first + kWarp * j] : 0;
  const X* logits = static_cast<const X*>(g.logits) + blockIdx.x * g.logit_stride + first;
  if (threadIdx.x == 0) s.count = 0;  // a barrier or more ahead of its use
  wait_for_previous_kernel();
#pragma unroll
  for (int j = 0; j < R; ++j) row.logit[j] = row.has(g, j) ? to_float(logits[kWarp * j]) : 0;
  keys_of_block(g, bias, row, s);
  if (g.topk_group < g.n_group) exclude_of_block(g, row, s);
  pack_of_block(g, row, reached_of_block(g, row, s), s);
  __syncthreads();
  if (row.warp == 0) finish_of_block(g, blockIdx.x, row.lane, s);
}

Gate gate_of(const MoeGateArgs& a) {
  return {.logits = a.logits.data,
          .bias = a.bias.present() ? a.bias.as<float>() : nullptr,
          .weights = a.topk_weights.as<float>(),
          .ids = a.topk_ids.as<int32_t>(),
          .tokens = a.logits.shape[0],
          .logit_stride = a.logits.stride[0],
          .weight_stride = a.topk_weights.stride[0],
          .id_stride = a.topk_ids.stride[0],
          .experts = int(a.logits.shape[1]),
          .top_k = int(a.top_k),
          .n_group = int(a.n_group),
          .group_size = int(a.logits.shape[1] / a.n_group),
          .topk_group = int(a.topk_group),
          .group_of_width = uint32_t(ceil_div(65536, std::max<int64_t>(a.logits.shape[1] / a.n_group / kWarp, 1))),
          .softmax = a.scoring == GateScoring::kSoftmax,
          .by_logit = moe_gate_by_logit(a),
          .renormalize = a.renormalize,
          .shared = a.shared_expert,
          .scale = moe_gate_scale(a),
          .shared_weight = moe_gate_shared_weight(a)};
}

// Calls f with the registers of a lane for this many experts on so many warps, as a constant.
template <int kWarpsOfRow, class F>
Status visit_registers(int experts, F&& f) {
  if (experts <= 4 * kWarp) return f(std::integral_constant<int, 4 / kWarpsOfRow>());
  if (experts <= 8 * kWarp) return f(std::integral_constant<int, 8 / kWarpsOfRow>());
  if (experts <= 12 * kWarp) return f(std::integral_constant<int, 12 / kWarpsOfRow>());
  if (experts <= 16 * kWarp) return f(std::integral_constant<int, 16 / kWarpsOfRow>());
  return f(std::integral_constant<int, 32 / kWarpsOfRow>());
}

bool has_few_rows(const Context& ctx, const Gate& g) {
  constexpr int64_t kRowsOfAnSm = 8;
  const bool whole = g.topk_group == g.n_group || g.group_size % kWarp == 0;
  return whole && g.tokens <= kRowsOfAnSm * ctx.gpu->sms;
}

}  // namespace

Status moe_gate_cuda(Context& ctx, const MoeGateArgs& a, std::byte*) {
  const Gate g = gate_of(a);
  const bool bf16 = a.logits.dtype == DType::kBF16;
  if (has_few_rows(ctx, g)) {
    const LaunchShape shape{.grid = unsigned(g.tokens), .block = kRowWarps * kWarp, .dependent = true};
    return visit_registers<kRowWarps>(g.experts, [&](auto registers) {
      constexpr int R = decltype(registers)::value;
      return bf16 ? launch(ctx, moe_gate_row_kernel<R, Bf16>, shape, g) : launch(ctx, moe_gate_row_kernel<R, float>, shape, g);
    });
  }
  constexpr int64_t kBlocksOfAnSm = 16;  // that is 64 warps, all it holds; they go on to further rows, with their bias
  const int64_t blocks = std::min((g.tokens + kWarps - 1) / kWarps, kBlocksOfAnSm * std::max(ctx.gpu->sms, 1));
  const LaunchShape shape{.grid = unsigned(blocks), .block = kThreads, .dependent = true};
  return visit_registers<1>(g.experts, [&](auto registers) {
    constexpr int R = decltype(registers)::value;
    const auto launch_of = [&]<class X>() {
      return g.experts == kWarp * R ? launch(ctx, moe_gate_kernel<R, true, X>, shape, g)
                                    : launch(ctx, moe_gate_kernel<R, false, X>, shape, g);
    };
    return bf16 ? launch_of.template operator()<Bf16>() : launch_of.template operator()<float>();
  });
}

}  // namespace sluice
