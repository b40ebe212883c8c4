// mla_decode on compute capability 9.0: sizes, shared memory and who waits for whom, of the kernel in sm90.cu.
//
// A block of threads has a tile of 64 query rows and a stretch of their list of keys. Keys come in blocks of 64, which take turns
// in two places. Two groups of threads compute, one group loads:
//   group 0  scores and weights of even blocks; columns [0, 256) of the weighted sum, of all blocks
//   group 1  scores and weights of odd blocks; columns [256, 512)
// A group hands its weights and its rows' maxima to the other through shared memory, a thread to the thread of the same number:
// their fragments are alike. While one group weighs, the products of the other keep the tensor cores at work.
//
// A place is given back in two parts, each by the group that is the last to read it: the latent's half that the scores' group sums
// itself, with the rope, and the other group's half.
#pragma once

#include "core/cuda/launch.h"
#include "core/cuda/wgmma.h"
#include "ops/mla_decode/tiles.cuh"
#include "ops/mla_decode/work.cuh"

namespace sluice::mla_sm90 {

using namespace mla_tiles;

inline constexpr int kRows = 64;
inline constexpr int kGroup = 128;           // threads
inline constexpr int kThreads = 3 * kGroup;  // groups 0 and 1 compute
inline constexpr int kGroupWarps = kGroup / kWarp;
inline constexpr int kTileBytes = 64 * 128;    // 64 rows of 64 bf16, swizzled over 128 bytes
inline constexpr int kTiles = kChunks / 8;     // of a row
inline constexpr int kHalfTiles = kTiles / 2;  // of half a latent; the last tile is the rope's
inline constexpr int kRopeTile = kTiles - 1;
inline constexpr int kBf16Bytes = 2 * (kLatent + kRope);
inline constexpr int kHalf = kLatent / 2;  // columns
enum Part { kOwn, kOther, kParts };        // of a place: the halves summed by the block's own group and by the other

// The stretch of a list that a block of threads has.
struct Stretch {
  int64_t begin;  // blocks of keys
  int count;
  __device__ Stretch(const Call& c, const Work& work) {
    const int64_t blocks = (work.list.count + kBlock - 1) / kBlock, each = (blocks + c.cut.splits - 1) / c.cut.splits;
    begin = min(work.split * each, blocks), count = int(min(begin + each, blocks) - begin);
  }
};

inline constexpr int kLookedUp = 4;  // places for a block's rows
inline constexpr int kAhead = 2;     // blocks whose rows are looked up early; their place is free by then
inline constexpr uint32_t kNoRow = ~0u;

struct alignas(1024) Shared {
  uint8_t query[kTiles][kTileBytes];
  uint8_t keys[2][kTiles][kTileBytes];
  uint4 weights[4][kGroup];  // a thread's fragments, of the block that was weighed last
  uint64_t full[2][kParts], empty[2][kParts];
  uint32_t valid[2][2];              // a bit a key
  uint32_t rows[kLookedUp][kBlock];  // of the next blocks: where they lie, in units of 16 bytes from the cache's beginning
  int32_t page[kLookedUp];           // of a block's first key
  float most[2][kRows], total[2][kRows];
  Work work;
  Stretch stretch;
};
static_assert(sizeof(Shared) <= 227 << 10);

// Arrivals that fill a part: all loading threads, and for the first one those who write `valid`.
constexpr uint32_t fillers(int part) { return part == kOwn ? kGroup + 2 : kGroup; }

// Of the 16 hardware barriers: a pair of warps each, of the same number in groups 0 and 1.
inline constexpr int kEvenReady = 1, kOddReady = 5, kComputeBarrier = 9, kLoadBarrier = 10;

struct Params {
  Call call;
  CUtensorMap rows;  // of the cache, boxes of 64 rows and columns of a page
  bool by_engine;    // whole blocks of keys come by the copy engine
};

// Where 16 bytes of a row of a tile lie.
__device__ inline uint32_t place_in_tile(int row, int piece) { return uint32_t(row * 128 + ((piece ^ (row & 7)) << 4)); }

}  // namespace sluice::mla_sm90
