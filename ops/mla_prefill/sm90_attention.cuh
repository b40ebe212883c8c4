// Attention on compute capability 9.0 (wgmma, copy engine), the part that is the same whatever finds the keys: a block of threads
// takes tiles of 128 rows of one head, one after another. One warp finds the tiles; one copies a tile's queries, and keys and
// values block by block, into rings in shared memory. Two warpgroups have 64 rows each: they leave scores in registers, and these,
// as weights, are the operand of the product with the values as they are. While one warpgroup computes weights, the other one's
// products run, and in each the product with the last block's values runs during the weights of the next one. (The scheme of
// FlashAttention-3, arXiv 2407.08608.)
//
// A Source says which tiles there are and copies their rows:
//   TileRows next();                                                    the next tile, by a whole warp; one without rows: no more
//   void query(const TileRows&, int row, uint8_t* to, uint64_t* bar);   64 rows, by one thread, as are
//   void keys(const TileRows&, int begin, uint8_t* to, uint64_t* bar), values(...);
//   void expect(const TileRows&);                                       may bring queries nearer, by one thread
// All in boxes of 64 columns, swizzled over their 128 bytes.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "core/cuda/wgmma.h"
#include "ops/mla_decode/tiles.cuh"

namespace sluice::attention_sm90 {

using namespace cuda;

inline constexpr int kGroup = 128;  // threads of a warpgroup
inline constexpr int kGroupRows = 64, kGroups = 2, kRows = kGroups * kGroupRows;
inline constexpr int kThreads = (kGroups + 1) * kGroup;
inline constexpr int kGroupWarps = kGroup / kWarp;
inline constexpr int kBoxColumns = 64, kBoxRowBytes = 128;
inline constexpr int kStages = 2, kTileStages = 2;
// The next tile is looked for when this many blocks of keys are left to be copied: so late that who has long tiles takes fewer of
// them, and so early that it is known by the time it is needed.
inline constexpr int kBlocksAhead = 3;
// Registers a thread: 56 + 2 * 224 = 504 = 3 * 168, what the launch gives out.
inline constexpr int kLoadRegisters = 56, kGroupRegisters = 224;
inline constexpr int kTurnBarrier = 1;  // of the 16 hardware barriers; one a warpgroup
inline constexpr float kLog2E = 1.44269504088896341f;

// A value that is the same in every lane, so that it may live in a uniform register.
__device__ inline int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }

// A tile: `rows` rows from `first_row` of q on. Its sequence has `keys` keys, of which the last row sees `end` and row i no more
// than `before` + i + 1; where they are, `place` says to the Source.
struct TileRows {
  int first_row, rows, place, keys, end, before, head;
};
inline constexpr int kTileWords = sizeof(TileRows) / 4;

template <int kKeySize, int kValueSize, int kBlockKeys, bool kHasGate = false>
struct Shape {
  static constexpr int kKey = kKeySize, kValue = kValueSize;  // elements of a key and a value
  static constexpr bool kGate = kHasGate;                     // results are multiplied by a sigmoid
  static constexpr int kBlock = kBlockKeys;                   // keys
  static constexpr int kQueryBox = kGroupRows * kBoxRowBytes, kBlockBox = kBlock * kBoxRowBytes;
  static constexpr int kQueryBytes = kGroupRows * kKey * 2, kKeyBytes = kBlock * kKey * 2, kValueBytes = kBlock * kValue * 2;
  static_assert(kKey % kBoxColumns == 0 && kValue % kBoxColumns == 0 && kBlock % 16 == 0);
};

template <class S>
struct Shared {
  uint8_t query[kGroups][S::kQueryBytes];
  uint8_t keys[kStages][S::kKeyBytes];
  uint8_t values[kStages][S::kValueBytes];
  TileRows tiles[kTileStages];
  uint64_t query_full[kGroups], query_empty[kGroups], keys_full[kStages], keys_empty[kStages], values_full[kStages],
      values_empty[kStages];
  uint64_t tile_full[kTileStages], tile_empty[kTileStages], tile_wanted, tail;
};

// The n-th use of a ring of N stages. A user of the stage waits for `full`, its filler for `empty`.
template <int N>
struct Turn {
  int stage;
  uint32_t phase;
  __device__ explicit Turn(uint32_t n) : stage(n % N), phase(n / N % 2) {}
  __device__ void wait_full(uint64_t* full) const { ptx::mbarrier_wait(&full[stage], phase); }
  __device__ void wait_empty(uint64_t* empty) const { ptx::mbarrier_wait(&empty[stage], phase ^ 1); }
};

template <class S>
__device__ inline void init_barriers(Shared<S>& sm) {
  const auto init = [](auto& full, auto& empty, int warps) {  // warps that empty it
    for (auto& bar : full) ptx::mbarrier_init(&bar, 1);
    for (auto& bar : empty) ptx::mbarrier_init(&bar, warps);
  };
  constexpr int kAll = kGroups * kGroupWarps;
  init(sm.query_full, sm.query_empty, kGroupWarps), init(sm.tile_full, sm.tile_empty, kAll + 1);
  init(sm.keys_full, sm.keys_empty, kAll), init(sm.values_full, sm.values_empty, kAll);
  ptx::mbarrier_init(&sm.tile_wanted, 1), ptx::mbarrier_init(&sm.tail, 1);
  ptx::fence_barrier_init();
}

// Says that a warp is done with what `empty` guards.
__device__ inline void release(uint64_t* empty) {
  __syncwarp();
  if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(empty);
}

// The i-th tile of this block of threads, by a whole warp.
template <class S>
__device__ inline TileRows take_tile(Shared<S>& sm, uint32_t i) {
  const Turn<kTileStages> turn(i);
  TileRows tile;
  turn.wait_full(sm.tile_full);
#pragma unroll
  for (int w = 0; w < kTileWords; ++w)
    reinterpret_cast<int*>(&tile)[w] = uniform(reinterpret_cast<const int*>(&sm.tiles[turn.stage])[w]);
  release(&sm.tile_empty[turn.stage]);
  return tile;
}

// --- the warp that finds tiles ---

// Tiles of all heads. Blocks of threads that run together had better read the same heads' keys and values, which then come from the
// L2 cache: tiles are numbered so that all of these few heads come before the next ones.
struct TileQueue {
  uint32_t* next = nullptr;         // tile that nobody has taken, beyond the grid's; null: there are none
  uint32_t tiles = 0;               // of a head, at most
  uint32_t heads = 0, section = 0;  // a section: so many heads, which come before the next ones
};

class TileTaker {
 public:
  __device__ explicit TileTaker(const TileQueue& queue) : queue_(queue) {}

  // A tile of a head that no other block of threads has, by a whole warp; false: none is left. The first one is the block's own
  // number. Not to be asked for until it is needed, so that who has long tiles takes fewer of them.
  __device__ bool take(uint32_t& tile, int& head) {
    uint32_t index = queue_.tiles * queue_.heads;
    if (!begun_) index = blockIdx.x;
    else if (queue_.next && threadIdx.x % kWarp == 0) index = gridDim.x + atomicAdd(queue_.next, 1u);
    begun_ = true, index = uint32_t(uniform(int(index)));
    if (index >= queue_.tiles * queue_.heads) return false;
    const uint32_t first = index / (queue_.tiles * queue_.section) * queue_.section, of_section = index - first * queue_.tiles;
    tile = of_section / queue_.section, head = int(first + of_section % queue_.section);
    return true;
  }

 private:
  const TileQueue& queue_;
  bool begun_ = false;
};

// The next tile of `sequences` (MlaTile, ops/mla_prefill/sequences.cuh), as rows_of(tile, head) makes it; one without rows: no
// more.
template <class Tile, class Sequences, class RowsOf>
__device__ inline TileRows next_tile(TileTaker& taker, const Sequences& sequences, RowsOf&& rows_of) {
  uint32_t index;
  int head;
  while (taker.take(index, head)) {
    const Tile tile(sequences, index, kRows);
    if (tile.found) return rows_of(tile, head);
  }
  return {};
}

template <class S, class Source>
__device__ inline void find_tiles(Source& source, Shared<S>& sm) {
  const bool leader = threadIdx.x % kWarp == 0;
  for (uint32_t i = 0;; ++i) {
    if (i > 0) ptx::mbarrier_wait(&sm.tile_wanted, (i - 1) % 2);
    const TileRows tile = source.next();
    const Turn<kTileStages> turn(i);
    turn.wait_empty(sm.tile_empty);
    if (leader) {
      sm.tiles[turn.stage] = tile;
      ptx::mbarrier_arrive(&sm.tile_full[turn.stage]);
      if (tile.end > 0) source.expect(tile);
    }
    if (tile.rows == 0) return;
    __syncwarp();
  }
}

// --- the warp that copies ---

// Clears the rows of a block of values from `first` on: a weight of zero hides no NaN of the next sequence.
template <class S>
__device__ inline void clear_values(uint8_t* values, int first) {
  constexpr int kRowChunks = kBoxRowBytes / 16;
  const int chunks = (S::kBlock - first) * kRowChunks;
  for (int box = 0; box < S::kValue / kBoxColumns; ++box)
    for (int i = int(threadIdx.x) % kWarp; i < chunks; i += kWarp)
      *reinterpret_cast<uint4*>(values + box * S::kBlockBox + first * kBoxRowBytes + i * 16) = {};
}

// A tile's n-th block of values, the `use`-th of this block of threads.
template <class S, class Source>
__device__ inline void load_values(Source& source, Shared<S>& sm, const TileRows& tile, int begin, uint32_t use, uint32_t& tails) {
  const Turn<kStages> turn(use);
  const bool leader = threadIdx.x % kWarp == 0, whole = begin + S::kBlock <= tile.keys;
  uint64_t* full = &sm.values_full[turn.stage];
  if (leader) {
    uint64_t* bar = whole ? full : &sm.tail;
    turn.wait_empty(sm.values_empty);
    ptx::mbarrier_arrive_expect(bar, S::kValueBytes);
    source.values(tile, begin, sm.values[turn.stage], bar);
  }
  if (whole) return;
  ptx::mbarrier_wait(&sm.tail, tails++ % 2);
  clear_values<S>(sm.values[turn.stage], tile.keys - begin);
  ptx::fence_proxy_async();
  __syncwarp();
  if (leader) ptx::mbarrier_arrive(full);
}

template <class S, class Source>
__device__ inline void load_query(Source& source, Shared<S>& sm, const TileRows& tile, uint32_t use) {
  for (int group = 0; group < kGroups; ++group) {
    Turn<1>(use).wait_empty(&sm.query_empty[group]);
    ptx::mbarrier_arrive_expect(&sm.query_full[group], S::kQueryBytes);
    source.query(tile, group * kGroupRows, sm.query[group], &sm.query_full[group]);
  }
}

template <class S, class Source>
__device__ inline void load_tiles(Source& source, Shared<S>& sm) {
  const bool leader = threadIdx.x % kWarp == 0;
  uint32_t use = 0, queries = 0, tails = 0;
  for (uint32_t i = 0;; ++i) {
    const TileRows tile = take_tile(sm, i);
    if (tile.rows == 0) return;
    const int late = max(tile.end - (kBlocksAhead - 1) * S::kBlock, 1);  // the next tile is wanted at the block that reaches here
    if (leader && tile.end <= 0) ptx::mbarrier_arrive(&sm.tile_wanted);
    for (int begin = 0; begin < tile.end; begin += S::kBlock, ++use) {
      if (leader) {
        if (begin < late && begin + S::kBlock >= late) ptx::mbarrier_arrive(&sm.tile_wanted);
        const Turn<kStages> turn(use);
        turn.wait_empty(sm.keys_empty);
        ptx::mbarrier_arrive_expect(&sm.keys_full[turn.stage], S::kKeyBytes);
        source.keys(tile, begin, sm.keys[turn.stage], &sm.keys_full[turn.stage]);
      }
      if (leader && begin == 0) load_query(source, sm, tile, queries++);
      load_values(source, sm, tile, begin, use, tails);
    }
  }
}

// --- the warpgroups that compute ---

template <int N>
__device__ inline void multiply_shared(float (&d)[N], uint64_t a, uint64_t b, bool accumulate) {
  using enum ptx::Major;
  if constexpr (N == 32) ptx::wgmma_m64n64k16_bf16<kSummed, kSummed>(d, a, b, accumulate);
  else if constexpr (N == 40) ptx::wgmma_m64n80k16_bf16<kSummed, kSummed>(d, a, b, accumulate);
  else ptx::wgmma_m64n128k16_bf16<kSummed, kSummed>(d, a, b, accumulate);
}
template <int N>
__device__ inline void multiply_registers(float (&d)[N], const uint32_t (&a)[4], uint64_t b) {
  using enum ptx::Major;
  if constexpr (N == 32) ptx::wgmma_m64n64k16_bf16<kOther>(d, a, b, true);
  else if constexpr (N == 128) ptx::wgmma_m64n256k16_bf16<kOther>(d, a, b, true);
  else ptx::wgmma_m64n128k16_bf16<kOther>(d, a, b, true);
}

// Where results go; strides in bytes but lse's.
struct Outputs {
  char* o;
  int64_t o_row, o_head;
  float* lse;  // may be null
  int64_t lse_row, lse_head;
  bool o_is_f32;
  float scale_log2, to_base;   // of scores; base 2 logarithms to lse's base
  const char* gate = nullptr;  // bf16
  int64_t gate_row = 0, gate_head = 0;
};

// Four words of each of four neighbouring threads, transposed.
__device__ inline void transpose_quad(uint32_t (&r)[4], int lane) {
#pragma unroll
  for (int d = 1; d < 4; d *= 2)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & d) continue;
      const bool upper = lane & d;
      const uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? r[i] : r[i + d], d);
      if (upper) r[i] = other;
      else r[i + d] = other;
    }
}

// A warpgroup. A thread has two rows, `half` 0 and 1, and of every 8 columns two neighbours.
template <class S>
class Group {
 public:
  __device__ Group(const Outputs& out, Shared<S>& sm)
      : out_(out),
        sm_(sm),
        group_(uniform(int(threadIdx.x) / kGroup)),
        lane_(int(threadIdx.x) % kWarp),
        row_(group_ * kGroupRows + int(threadIdx.x) % kGroup / kWarp * 16 + lane_ / 4),
        query_(ptx::wgmma_operand(ptx::shared_address(sm.query[group_]), 0, kEight)),
        keys_(ptx::wgmma_operand(ptx::shared_address(sm.keys), 0, kEight)),
        values_(ptx::wgmma_operand(ptx::shared_address(sm.values), S::kBlockBox, kEight)) {}

  __device__ void run() {
    if (group_ == 1) give_turn();
    for (uint32_t i = 0;; ++i) {
      const TileRows tile = take_tile(sm_, i);
      if (tile.rows == 0) break;
      attend(tile);
    }
    if (group_ == 0) take_turn();  // what was given last
  }

 private:
  static constexpr int kEight = 8 * kBoxRowBytes;  // bytes of eight rows of a box
  using Scores = float[S::kBlock / 2];

  // The groups' products are issued in turns, so that one group's weights are computed under the other's products.
  __device__ void take_turn() const { ptx::named_barrier(kTurnBarrier + group_, kGroups * kGroup); }
  __device__ void give_turn() const { ptx::named_barrier_arrive(kTurnBarrier + 1 - group_, kGroups * kGroup); }

  // Keys that a row of the tile sees; may be below 0.
  __device__ int seen_by(int row) const { return min(tile_.end, tile_.before + row + 1); }

  __device__ void attend(const TileRows& tile) {
    const int blocks = (max(tile.end, 0) + S::kBlock - 1) / S::kBlock;
    if (blocks == 0) return store_nothing(tile);
    tile_ = tile;
    begin(blocks);
    const int whole = min(blocks_without_mask(), blocks);
    int b = 1;
    for (; b < whole; ++b) step<false>(b, blocks);
    for (; b < blocks; ++b) step<true>(b, blocks);
    end();
    finish();
  }

  // The weights of the first block.
  __device__ void begin(int blocks) {
    const Turn<kStages> turn(use_);
    Scores s;
    float factor[2];
    most_[0] = most_[1] = -INFINITY, total_[0] = total_[1] = 0;
#pragma unroll
    for (float& x : sums_) x = 0;
    ptx::mbarrier_wait(&sm_.query_full[group_], queries_++ % 2);
    turn.wait_full(sm_.keys_full);
    take_turn();
    scores(s, turn.stage);
    give_turn();
    ptx::wgmma_wait<0>();
    ptx::pin(s);
    release(&sm_.keys_empty[turn.stage]);
    if (blocks == 1) release(&sm_.query_empty[group_]);
    if (blocks_without_mask() == 0) mask(0, s);
    weigh(s, factor);
    pack(s);
  }

  __device__ int blocks_without_mask() const { return max(seen_by(group_ * kGroupRows), 0) / S::kBlock; }

  // The weights of block b, and the sums over the one before it.
  template <bool kMasked>
  __device__ void step(int b, int blocks) {
    const Turn<kStages> last(use_), turn(++use_);
    Scores s;
    float factor[2];
    turn.wait_full(sm_.keys_full);
    take_turn();
    scores(s, turn.stage);
    last.wait_full(sm_.values_full);
    add(last.stage);
    give_turn();
    ptx::wgmma_wait<1>();
    ptx::pin(s);
    release(&sm_.keys_empty[turn.stage]);
    if (kMasked) mask(b * S::kBlock, s);
    weigh(s, factor);
    ptx::pin(s);
    if (b + 1 == blocks)
      release(&sm_.query_empty[group_]);  // a branch, which keeps the wait from being scheduled ahead of the weights
    ptx::wgmma_wait<0>();
    ptx::pin(sums_);
    release(&sm_.values_empty[last.stage]);
    rescale(factor);
    pack(s);
  }

  // The sums over the last block.
  __device__ void end() {
    const Turn<kStages> turn(use_++);
    turn.wait_full(sm_.values_full);
    add(turn.stage);
    ptx::wgmma_wait<0>();
    ptx::pin(sums_);
    release(&sm_.values_empty[turn.stage]);
  }

  __device__ void scores(Scores& s, int stage) const {
    const uint64_t keys = ptx::wgmma_advance(keys_, stage * S::kKeyBytes);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < S::kKey / 16; ++k)
      multiply_shared(s, ptx::wgmma_advance(query_, k / 4 * S::kQueryBox + k % 4 * 32),
                      ptx::wgmma_advance(keys, k / 4 * S::kBlockBox + k % 4 * 32), k > 0);
    ptx::wgmma_commit();
  }

  __device__ void add(int stage) {
    const uint64_t values = ptx::wgmma_advance(values_, stage * S::kValueBytes);
    ptx::pin(sums_);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < S::kBlock / 16; ++k) multiply_registers(sums_, weights_[k], ptx::wgmma_advance(values, k * 2 * kEight));
    ptx::wgmma_commit();
  }

  // Scores that a row does not see to -inf.
  __device__ void mask(int begin, Scores& s) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int seen = seen_by(row_ + 8 * half) - begin - lane_ % 4 * 2;
#pragma unroll
      for (int t = 0; t < S::kBlock / 8; ++t)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (t * 8 + e >= seen) s[4 * t + 2 * half + e] = -INFINITY;
    }
  }

  // Scores to weights, maxima and totals brought up to date; by `factor` what was summed so far is to be multiplied.
  __device__ void weigh(Scores& s, float (&factor)[2]) {
    float shift[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -INFINITY, other = -INFINITY;
#pragma unroll
      for (int t = 0; t < S::kBlock / 8; ++t)
        most = fmaxf(most, s[4 * t + 2 * half]), other = fmaxf(other, s[4 * t + 2 * half + 1]);
      most = fmaxf(most_[half], row_max(fmaxf(most, other)) * out_.scale_log2);
      shift[half] = shift_of(most), factor[half] = ptx::exp2_approx(most_[half] - shift[half]);
      most_[half] = most, total_[half] *= factor[half];
    }
#pragma unroll
    for (int i = 0; i < S::kBlock / 2; ++i) {
      const int half = i / 2 % 2;
      s[i] = ptx::exp2_approx(fmaf(s[i], out_.scale_log2, -shift[half]));
      total_[half] += s[i];
    }
  }

  __device__ void rescale(const float (&factor)[2]) {
    if (!__any_sync(0xffffffffu, factor[0] != 1 || factor[1] != 1)) return;
#pragma unroll
    for (int i = 0; i < S::kValue / 2; ++i) sums_[i] *= factor[i / 2 % 2];
  }

  __device__ void pack(const Scores& s) {
#pragma unroll
    for (int k = 0; k < S::kBlock / 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) weights_[k][i] = ptx::pack_bf16(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
  }

  // --- results ---

  __device__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = row_sum(total_[half]), inverse = inverse_of(total);
      const int row = row_ + 8 * half;
      const bool wanted = row < tile_.rows;
      if constexpr (S::kGate)
        if (wanted) multiply_by_gate(row, half);
      if (out_.o_is_f32) store_f32(row_of_o(tile_, row), half, inverse, wanted);
      else store_bf16(row_of_o(tile_, row), half, inverse, wanted);
      if (wanted) store_lse(tile_, row, log2_of(most_[half], total) * out_.to_base);
    }
  }
  __device__ void multiply_by_gate(int row, int half) {
    const char* from = out_.gate + int64_t(tile_.first_row + row) * out_.gate_row + tile_.head * out_.gate_head;
#pragma unroll
    for (int t = 0; t < S::kValue / 8; ++t) {
      const uint32_t two = *reinterpret_cast<const uint32_t*>(from + (t * 8 + lane_ % 4 * 2) * 2);
      sums_[4 * t + 2 * half] *= sigmoid(__uint_as_float(two << 16));
      sums_[4 * t + 2 * half + 1] *= sigmoid(__uint_as_float(two & 0xffff0000u));
    }
  }
  __device__ static float sigmoid(float x) { return ptx::rcp_approx(1 + ptx::exp2_approx(x * -kLog2E)); }

  // Of rows that see no key.
  __device__ void store_nothing(const TileRows& tile) const {
    const int bytes = S::kValue * (out_.o_is_f32 ? 4 : 2);
    for (int row = row_; row < min(tile.rows, row_ + 16); row += 8) {
      for (int at = lane_ % 4 * 16; at < bytes; at += 4 * 16)
        ptx::store_global(reinterpret_cast<uint4*>(row_of_o(tile, row) + at), {});
      store_lse(tile, row, -INFINITY);
    }
  }
  __device__ char* row_of_o(const TileRows& tile, int row) const {
    return out_.o + int64_t(tile.first_row + row) * out_.o_row + tile.head * out_.o_head;
  }
  __device__ void store_lse(const TileRows& tile, int row, float lse) const {
    if (out_.lse && lane_ % 4 == 0) out_.lse[int64_t(tile.first_row + row) * out_.lse_row + tile.head * out_.lse_head] = lse;
  }
  __device__ void store_f32(char* to, int half, float inverse, bool wanted) const {
#pragma unroll
    for (int t = 0; t < S::kValue / 8; ++t) {
      const float* x = sums_ + 4 * t + 2 * half;
      if (wanted) *reinterpret_cast<float2*>(to + (t * 8 + lane_ % 4 * 2) * 4) = make_float2(x[0] * inverse, x[1] * inverse);
    }
  }
  __device__ void store_bf16(char* to, int half, float inverse, bool wanted) const {
#pragma unroll
    for (int t = 0; t < S::kValue / 8; t += 4) {
      uint32_t r[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* x = sums_ + 4 * (t + i) + 2 * half;
        r[i] = ptx::pack_bf16(x[0] * inverse, x[1] * inverse);
      }
      transpose_quad(r, lane_);
      if (wanted) ptx::store_global(reinterpret_cast<uint4*>(to + (t + lane_ % 4) * 16), {r[0], r[1], r[2], r[3]});
    }
  }

  const Outputs& out_;
  Shared<S>& sm_;
  const int group_, lane_, row_;  // of the tile
  const uint64_t query_, keys_, values_;
  TileRows tile_;
  uint32_t use_ = 0, queries_ = 0;  // blocks and tiles so far
  float most_[2], total_[2];
  float sums_[S::kValue / 2];
  uint32_t weights_[S::kBlock / 16][4];
};

// A block of threads.
template <class S, class Source>
__device__ inline void run_block(Source source, const Outputs& out, Shared<S>& sm) {
  if (threadIdx.x == 0) init_barriers(sm);
  wait_for_previous_kernel();
  __syncthreads();
  if (threadIdx.x < kGroups * kGroup) {
    ptx::set_max_registers_up<kGroupRegisters>();
    Group<S>(out, sm).run();
  } else {
    ptx::set_max_registers_down<kLoadRegisters>();
    const int warp = uniform(int(threadIdx.x) / kWarp) - kGroups * kGroupWarps;
    if (warp == 0) load_tiles(source, sm);
    else if (warp == 1) find_tiles(source, sm);
  }
}

template <class Source>
__global__ void attention_start(uint32_t* next) {
  wait_for_previous_kernel();
  *next = 0;
}

// Call has `queue` and `out`, and is what a Source is made from.
template <class Source, class Call>
__global__ void __launch_bounds__(kThreads, 1) attention_kernel(const __grid_constant__ Call c) {
  extern __shared__ __align__(1024) uint8_t memory[];
  run_block(Source(c), c.out, *reinterpret_cast<Shared<typename Source::Shape>*>(memory));
}

// --- the host's side ---

inline constexpr int64_t kSectionBytes = 16 << 20;  // of keys and values, to be read from L2

// Heads of a section, in units of those that share keys and values: a divisor of them, so that no last few are left to the end,
// where their long tiles would be waited for.
inline int64_t section_of(int64_t units, int64_t unit_bytes) {
  int64_t section = std::clamp<int64_t>(kSectionBytes / std::max<int64_t>(unit_bytes, 1), 1, units);
  while (units % section) --section;
  return section;
}

// At most so many tiles of a head: every sequence may end with one that is not full.
inline int64_t most_tiles(int64_t rows, int64_t sequences) {
  return std::min<int64_t>(rows, ceil_div(rows, int64_t(kRows)) + sequences);
}

// With `counter` for queue.next.
template <class Source, class Call>
Status launch_attention(const Context& ctx, Call call, uint32_t* counter) {
  const int64_t all = int64_t(call.queue.tiles) * call.queue.heads;
  if (all == 0) return {};
  if (all > INT_MAX) return {Code::kUnsupported, "more tiles of rows and heads than fit 31 bits"};
  if (all > ctx.gpu->sms) {
    call.queue.next = counter;
    SLUICE_RETURN_IF_ERROR(launch(ctx, attention_start<Source>, {.grid = 1, .block = 1, .dependent = true}, counter));
  }
  return launch(ctx, attention_kernel<Source, Call>,
                {.grid = unsigned(std::min<int64_t>(all, ctx.gpu->sms)),
                 .block = kThreads,
                 .shared = sizeof(Shared<typename Source::Shape>),
                 .dependent = true},
                call);
}

}  // namespace sluice::attention_sm90
