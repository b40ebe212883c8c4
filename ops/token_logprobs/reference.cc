#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/rows.h"
#include "ops/token_logprobs/forms.h"

namespace sluice {
namespace {

double log_of_sum(const float* x, int64_t V) {
  const double max = *std::max_element(x, x + V);
  double sum = 0;
  for (int64_t i = 0; i < V; ++i) sum += std::exp(x[i] - max);
  return max + std::log(sum);
}

}  // namespace

Status token_logprobs_reference(Context&, const TokenLogprobsArgs& a, std::byte*) {
  const int64_t V = a.logits.shape[1], N = a.counts.present() ? a.best_ids.shape[1] : 0;
  constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();
  for (int64_t r = 0; r < a.logits.shape[0]; ++r) {
    const float* x = Rows(a.logits).row<float>(r);
    const bool finite = std::all_of(x, x + V, [](float v) { return std::isfinite(v); });
    const double log_sum = finite ? log_of_sum(x, V) : 0;
    const int32_t id = a.ids.as<int32_t>()[r];
    const bool known = finite && id >= 0;
    a.logprobs.as<float>()[r] = known ? float(x[id] - log_sum) : kNothing;
    a.ranks.as<int32_t>()[r] = known ? 1 + int32_t(std::count_if(x, x + V, [&](float v) { return v > x[id]; })) : 0;
    if (N == 0) continue;
    std::vector<int32_t> best(V);
    std::iota(best.begin(), best.end(), 0);
    std::stable_sort(best.begin(), best.end(), [&](int32_t i, int32_t j) { return x[i] > x[j]; });
    best.resize(finite ? std::min<int64_t>(V, a.counts.as<int32_t>()[r]) : 0);
    for (int64_t i = 0; i < N; ++i) {
      const bool there = i < int64_t(best.size());
      Rows(a.best_ids).row<int32_t>(r)[i] = there ? best[i] : -1;
      Rows(a.best_logprobs).row<float>(r)[i] = there ? float(x[best[i]] - log_sum) : kNothing;
    }
  }
  return {};
}

}  // namespace sluice
