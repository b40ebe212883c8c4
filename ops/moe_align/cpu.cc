// Counting sort: parts of the entries are counted on their own, one pass over parts and experts gives each its place, and each part
// puts its entries there. The result does not depend on the number of parts.
#include <algorithm>

#include "ops/moe_align/forms.h"

namespace sluice {
namespace {

constexpr int64_t kPart = 16384;  // entries worth a thread

int64_t parts_of(const Context& ctx, const MoeAlignArgs& a) {
  return std::clamp<int64_t>(a.topk_ids.numel() / kPart, 1, ctx.team->size());
}

// What each part of the entries has, and where each expert's blocks begin.
struct Table {
  int64_t parts, entries, experts;
  int32_t* place;  // [parts, experts]: first the number of a part's entries, then where its next one goes
  int32_t* begin;  // [experts + 1]
  int32_t* end;    // [experts]: of the entries, where the padding begins

  Table(const Context& ctx, const MoeAlignArgs& a, std::byte* scratch)
      : parts(parts_of(ctx, a)), entries(a.topk_ids.numel()), experts(a.experts), place(reinterpret_cast<int32_t*>(scratch)) {
    begin = place + parts * experts, end = begin + experts + 1;
  }
  // Calls f(flat index, its expert's place) for the entries of a part, in order.
  template <class F>
  void each_entry(const MoeAlignArgs& a, int64_t part, F&& f) const {
    const int64_t K = a.topk_ids.shape[1], last = entries * (part + 1) / parts;
    for (int64_t i = entries * part / parts; i < last;) {
      const int32_t* row = a.topk_ids.as<int32_t>() + i / K * a.topk_ids.stride[0] - i / K * K;
      for (const int64_t row_end = std::min(last, (i / K + 1) * K); i < row_end; ++i)
        if (row[i] >= 0 && row[i] < experts) f(i, place[part * experts + row[i]]);
    }
  }
};

void lay_out(const Table& table, int64_t block) {
  int64_t at = 0;
  for (int64_t e = 0; e < table.experts; ++e) {
    table.begin[e] = int32_t(at);
    for (int64_t p = 0; p < table.parts; ++p) {
      int32_t& place = table.place[p * table.experts + e];
      const int32_t count = place;
      place = int32_t(at), at += count;
    }
    table.end[e] = int32_t(at), at = round_up(at, block);  // each begins at a multiple of block
  }
  table.begin[table.experts] = int32_t(at);
}

}  // namespace

size_t moe_align_cpu_workspace(const Context& ctx, const MoeAlignArgs& a) {
  return size_t((parts_of(ctx, a) + 2) * a.experts + 1) * sizeof(int32_t);
}

Status moe_align_cpu(Context& ctx, const MoeAlignArgs& a, std::byte* scratch) {
  const Table table(ctx, a, scratch);
  auto *sorted = a.sorted_token_ids.as<int32_t>(), *expert_ids = a.expert_ids.as<int32_t>();
  const auto padding = int32_t(table.entries);
  ctx.team->each(table.parts, [&](int64_t part, int) {
    std::fill_n(table.place + part * table.experts, table.experts, 0);
    table.each_entry(a, part, [](int64_t, int32_t& count) { ++count; });
  });
  lay_out(table, a.block);
  ctx.team->each(table.parts, [&](int64_t part, int) {
    table.each_entry(a, part, [&](int64_t i, int32_t& place) { sorted[place++] = int32_t(i); });
  });
  const int32_t* map = a.expert_map.present() ? a.expert_map.as<int32_t>() : nullptr;
  for (int32_t e = 0; e < table.experts; ++e) {
    std::fill(sorted + table.end[e], sorted + table.begin[e + 1], padding);
    std::fill(expert_ids + table.begin[e] / a.block, expert_ids + table.begin[e + 1] / a.block,
              moe_align_local(map, int32_t(a.first_local), int32_t(a.local_experts), e));
  }
  const int32_t end = table.begin[table.experts];
  std::fill(sorted + end, sorted + a.sorted_token_ids.shape[0], padding);
  std::fill(expert_ids + end / a.block, expert_ids + a.expert_ids.shape[0], -1);
  a.num_tokens_post_pad.as<int32_t>()[0] = end;
  return {};
}

}  // namespace sluice
