// How a call is cut into work: rows into tiles, contexts into spans. Shared by every vector form; holds no arithmetic on values.
//
// A tile is a run of queries of one sequence with the query heads of one key head, which share each load of the cache, or of all
// key heads, whose rows lie next to each other in memory: a thread that takes all reads whole runs, one that takes every other
// piece waits for the same memory twice. Where tiles are too few to keep the team busy, each (tile, span) is a task of its own
// and the partial results, kept in scratch, are merged afterwards; otherwise a tile's thread merges its spans as it goes.
// Both make the same merges in the same order: the choice changes no bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/context.h"
#include "ops/gqa_prefill/gqa_prefill.h"

namespace sluice {

// Keys of one softmax step and of one partial result, both aligned to absolute position. Part of what an output's bits mean.
inline constexpr int kGqaBlock = 64;
inline constexpr int64_t kGqaSpan = 512;

struct GqaTile {
  int64_t first_row;  // its row of q; row r of a key head is query first_row + r / group, head kv_head * group + r % group
  int64_t position;   // of that row in its sequence
  int32_t queries, sequence, kv_head;  // the first key head of GqaPlan::heads
  int32_t spans;                       // of the context of the last query; 0: padding
  int64_t first_part;                  // index of its first partial result, where these are kept
};

struct GqaPlan {
  int64_t group = 0;         // query heads a key head
  int64_t heads = 0;         // key heads a tile: all or one
  int64_t pitch = 0;         // floats between rows of packed queries and outputs: D rounded up to 32
  int64_t rows = 0;          // of the largest tile, rounded up to 16
  int64_t state_floats = 0;  // of one partial result: outputs, maxima, sums
  int64_t tiles = 0, parts = 0;
  bool split = false;  // parts are tasks
  // Scratch, in bytes from its start. Each thread has packed queries, then two partial results.
  size_t tile_list = 0, part_tiles = 0, part_states = 0, threads = 0, thread_bytes = 0, bytes = 0;
};

GqaPlan plan_gqa(const Context& ctx, const GqaArgs& a);
// Writes the tiles, last first (they have the most keys), and each part's tile into the scratch that the plan laid out.
void list_gqa_tiles(const GqaArgs& a, const GqaPlan& plan, std::byte* scratch);

}  // namespace sluice
