// Blocking of the dot-product form.
#include <algorithm>

#include "base/checked.h"
#include "core/buffer.h"
#include "core/simd.h"
#include "ops/matmul/forms.h"

namespace sluice {
namespace {

constexpr int64_t kInPlaceRows = 24;        // up to here w is used so few times that widening it ahead costs more than it saves
constexpr int64_t kItemBytes = 256 << 10;   // of w: a quarter of the smallest L2 cache that matters (1 MiB), beside the next item's
constexpr int64_t kItemColumns = 64;        // at most, so that every thread has several items
constexpr int64_t kPanelBytes = 512 << 10;  // half of it
constexpr int64_t kAloneProducts = 1 << 16;  // below this, a few microseconds, the team's start shows

}  // namespace

DotPlan plan_dot(const MatmulArgs& a, const DotShape& shape, int threads) {
  const int64_t m = a.x.shape[0], n = a.w.shape[0], k = a.x.shape[1];
  DotPlan p{};
  p.steps = ceil_div(k, shape.step);
  p.chunks = std::max<int64_t>(1, ceil_div(p.steps, kDotChunk / shape.step));
  p.row_tiles = ceil_div(m, shape.tile_rows);
  const bool panel = m > kInPlaceRows && shape.element_bytes != int(dtype_size(a.w.dtype));
  p.alone = threads == 1 || m * n * k <= kAloneProducts;
  const int64_t row_bytes = std::max<int64_t>(1, p.steps) * shape.step * shape.element_bytes;
  const int64_t fit = (panel ? kPanelBytes : kItemBytes) / row_bytes / simd::kLanes * simd::kLanes;
  p.item_columns = std::clamp<int64_t>(fit, simd::kLanes, panel ? 512 : kItemColumns);
  p.item_columns = std::min(p.item_columns, round_up(n, kDotColumns));
  p.items_n = ceil_div(n, p.item_columns);
  // Enough items that a thread which finishes early finds more; rows are cut only where columns are too few.
  const int64_t wanted = p.alone || p.row_tiles <= shape.row_tiles ? 1 : ceil_div(4 * threads, p.items_n);
  p.item_row_tiles = wanted == 1 ? p.row_tiles : std::max<int64_t>(shape.row_tiles, ceil_div(p.row_tiles, wanted));
  p.items_m = ceil_div(p.row_tiles, p.item_row_tiles);
  p.x_bytes = round_up(p.row_tiles * shape.tile_rows * row_bytes, kCacheLine);
  p.panel_bytes = panel ? p.item_columns * row_bytes : 0;
  p.sums_in_y = !panel && a.y.dtype == DType::kF32;
  p.sums_bytes = p.sums_in_y ? 0 : round_up(shape.row_tiles * shape.tile_rows * p.item_columns * sizeof(float), kCacheLine);
  return p;
}

size_t dot_workspace(const MatmulArgs& a, const DotShape& shape, int threads) {
  if (a.y.numel() == 0) return 0;
  const DotPlan p = plan_dot(a, shape, threads);
  return p.x_bytes + threads * (p.panel_bytes + p.sums_bytes);
}

}  // namespace sluice
