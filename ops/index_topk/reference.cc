#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/index_topk/forms.h"
#include "ops/index_topk/row.h"

namespace sluice {
namespace {

// Whether score a comes before score b, whatever their indices.
bool is_better(float a, float b) { return std::isnan(b) ? !std::isnan(a) : a > b; }

}  // namespace

Status index_topk_reference(Context&, const IndexTopkArgs& args, std::byte*) {
  const TopkRows r(args);
  for (int64_t b = 0; b < r.rows; ++b) {
    const int64_t length = r.length(b), chosen = std::min(length, r.k);
    const float* scores = r.scores_of(b);
    std::vector<int64_t> order(static_cast<size_t>(length));
    std::iota(order.begin(), order.end(), 0);
    if (length > r.k)
      std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return is_better(scores[i], scores[j]); });
    std::sort(order.begin(), order.begin() + chosen);
    for (int64_t slot = 0; slot < r.k; ++slot) r.put(b, slot, slot < chosen ? order[size_t(slot)] : -1);
  }
  return {};
}

}  // namespace sluice
