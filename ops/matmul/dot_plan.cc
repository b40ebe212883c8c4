// Blocking of the dot-product form.
#include <algorithm>

#include "base/checked.h"
#include "core/buffer.h"
#include "ops/matmul/forms.h"

namespace sluice {
namespace {

constexpr int64_t kDirectRows = 24;          // up to here w is used so few times that copying it costs more than it saves
constexpr int64_t kStreamColumns = 64;       // rows of w in an item of the direct form: 128 KiB at K = 1024
constexpr int64_t kPanelBytes = 512 << 10;   // half of the smallest L2 cache that matters (Zen 5, 1 MiB)
constexpr int64_t kAloneProducts = 1 << 16;  // below this, a few microseconds, the team's start shows

}  // namespace

DotPlan plan_dot(const MatmulArgs& a, const DotShape& shape, int threads) {
  const int64_t m = a.x.shape[0], n = a.w.shape[0], k = a.x.shape[1];
  DotPlan p{};
  p.steps = ceil_div(k, shape.step);
  p.row_tiles = ceil_div(m, shape.tile_rows);
  p.direct = m <= kDirectRows;
  p.alone = threads == 1 || m * n * k <= kAloneProducts;
  const int64_t row_bytes = std::max<int64_t>(1, p.steps) * shape.step * shape.element_bytes;
  p.item_columns = p.direct ? kStreamColumns : std::clamp<int64_t>(kPanelBytes / row_bytes / kDotColumns * kDotColumns, 16, 512);
  p.item_columns = std::min(p.item_columns, round_up(n, kDotColumns));
  p.items_n = ceil_div(n, p.item_columns);
  // Enough items that a thread which finishes early finds more; rows are cut only where columns are too few.
  const int64_t wanted = p.alone || p.direct ? 1 : ceil_div(4 * threads, p.items_n);
  p.item_row_tiles = wanted == 1 ? p.row_tiles : std::max<int64_t>(shape.row_tiles, ceil_div(p.row_tiles, wanted));
  p.items_m = ceil_div(p.row_tiles, p.item_row_tiles);
  p.x_bytes = round_up(p.row_tiles * shape.tile_rows * row_bytes, kCacheLine);
  p.panel_bytes = p.direct ? 0 : p.item_columns * row_bytes;
  const int64_t sum_rows = p.direct ? kDirectRows : shape.row_tiles * shape.tile_rows;
  p.sums_bytes = round_up(sum_rows * p.item_columns * sizeof(float), kCacheLine);
  return p;
}

size_t dot_workspace(const MatmulArgs& a, const DotShape& shape, int threads) {
  if (a.y.numel() == 0) return 0;
  const DotPlan p = plan_dot(a, shape, threads);
  return p.x_bytes + threads * (p.panel_bytes + p.sums_bytes);
}

}  // namespace sluice
