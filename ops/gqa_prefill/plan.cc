#include "ops/gqa_prefill/plan.h"

#include <algorithm>

#include "base/checked.h"
#include "ops/gqa_prefill/forms.h"

namespace sluice {
namespace {

// Enough rows to read each key from L1 or L2 rather than from memory, few enough that 128 rows of 256 floats, three times over
// (queries, outputs, outputs of a span), stay in L2.
constexpr int64_t kTileRows = 128;
// Tasks a thread below which work is cut finer: with fewer, the last task to end leaves others idle.
constexpr int64_t kTasksAThread = 2;
constexpr size_t kMostPartBytes = size_t(64) << 20;  // of scratch for partial results; past it tiles stay whole

struct Sequence {
  int64_t first_row, rows, length;
};

Sequence sequence_at(const GqaArgs& a, int64_t b) {
  const int64_t length = a.seq_lens.as<int32_t>()[b];
  if (!a.cu_seqlens.present()) return {b, 1, length};
  const int32_t* cu = a.cu_seqlens.as<int32_t>();
  return {cu[b], cu[b + 1] - cu[b], length};
}

// f(tile) for every tile but its first_part, in descending order of rows within each sequence.
template <class F>
void for_each_tile(const GqaArgs& a, const GqaPlan& p, F&& f) {
  const int64_t most = std::max<int64_t>(1, kTileRows / (p.group * p.heads));
  for (int64_t b = a.seq_lens.dim(0) - 1; b >= 0; --b) {
    const Sequence s = sequence_at(a, b);
    for (int64_t end = s.rows; end > 0;) {
      const int64_t begin = (end - 1) / most * most;
      const int64_t position = s.length - s.rows + begin;
      const int64_t spans = s.length == 0 ? 0 : ceil_div(position + end - begin, kGqaSpan);
      for (int64_t h = 0; h < a.k_cache.dim(2); h += p.heads)
        f(GqaTile{s.first_row + begin, position, int32_t(end - begin), int32_t(b), int32_t(h), int32_t(spans), 0});
      end = begin;
    }
  }
}

// Tiles of `heads` key heads, and whether their parts are tasks.
GqaPlan cut(const GqaArgs& a, int64_t heads, int64_t tasks_wanted) {
  GqaPlan p;
  p.group = a.q.dim(1) / a.k_cache.dim(2);
  p.heads = heads;
  p.pitch = round_up(a.q.dim(2), 32);
  int64_t queries = 0, spans = 0;
  for_each_tile(a, p, [&](const GqaTile& t) {
    queries = std::max<int64_t>(queries, t.queries), spans = std::max<int64_t>(spans, t.spans);
    p.parts += t.spans, ++p.tiles;
  });
  p.rows = round_up(queries * p.group * p.heads, 16);
  p.state_floats = p.rows * (p.pitch + 2);
  p.split = spans > 1 && p.tiles < tasks_wanted && size_t(p.parts * p.state_floats) * sizeof(float) <= kMostPartBytes;
  return p;
}

}  // namespace

GqaPlan plan_gqa(const Context& ctx, const GqaArgs& a) {
  if (a.q.numel() == 0) return {};
  const int64_t wanted = kTasksAThread * ctx.team->size();
  GqaPlan p = cut(a, a.k_cache.dim(2), wanted);
  if ((p.split ? p.parts : p.tiles) < wanted) p = cut(a, 1, wanted);

  const size_t state_bytes = size_t(p.state_floats) * sizeof(float);
  const auto take = [&](size_t bytes) {
    const size_t at = p.bytes;
    p.bytes += size_t(round_up(int64_t(bytes), kCacheLine));
    return at;
  };
  p.tile_list = take(size_t(p.tiles) * sizeof(GqaTile));
  if (p.split) {
    p.part_tiles = take(size_t(p.parts) * sizeof(int32_t));
    p.part_states = take(size_t(p.parts) * state_bytes);
  }
  p.thread_bytes = size_t(p.rows * p.pitch) * sizeof(float) + 2 * state_bytes;
  p.threads = take(size_t(ctx.team->size()) * p.thread_bytes);
  return p;
}

void list_gqa_tiles(const GqaArgs& a, const GqaPlan& plan, std::byte* scratch) {
  auto* tiles = reinterpret_cast<GqaTile*>(scratch + plan.tile_list);
  auto* part_tiles = reinterpret_cast<int32_t*>(scratch + plan.part_tiles);
  int64_t n = 0, parts = 0;
  for_each_tile(a, plan, [&](GqaTile t) {
    t.first_part = parts;
    for (int32_t s = 0; plan.split && s < t.spans; ++s) part_tiles[parts++] = int32_t(n);
    tiles[n++] = t;
  });
}

size_t gqa_workspace(const Context& ctx, const GqaArgs& a) { return plan_gqa(ctx, a).bytes; }

}  // namespace sluice
