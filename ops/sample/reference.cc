#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/rows.h"
#include "ops/sample/forms.h"
#include "ops/sample/philox.h"

namespace sluice {
namespace {

// The first of `ids` in order of rank at which the running weight passes a share of `total`; the last if none does.
template <class Passes>
size_t first_passing(const std::vector<int32_t>& ids, const std::vector<double>& weight, Passes passes) {
  double sum = 0;
  for (size_t i = 0; i < ids.size(); ++i)
    if (passes(sum += weight[ids[i]])) return i;
  return ids.size() - 1;
}

double sum_of(const std::vector<int32_t>& ids, const std::vector<double>& weight) {
  double sum = 0;
  for (const int32_t id : ids) sum += weight[id];
  return sum;
}

int32_t choose(const float* x, int64_t V, const SamplingParams& p, int32_t position) {
  std::vector<int32_t> ids(V);
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t i, int32_t j) { return x[i] > x[j]; });
  if (p.temperature == 0) return ids[0];
  std::vector<double> weight(V);  // relative to the best
  for (int64_t i = 0; i < V; ++i) weight[i] = std::exp((double(x[i]) - x[ids[0]]) / p.temperature);
  if (p.top_k > 0) ids.resize(std::min<size_t>(ids.size(), p.top_k));
  if (p.top_p < 1) {
    const double enough = p.top_p * sum_of(ids, weight);
    ids.resize(first_passing(ids, weight, [&](double sum) { return sum >= enough; }) + 1);
  }
  std::erase_if(ids, [&](int32_t id) { return weight[id] < p.min_p; });
  const double target = sample_uniform(p.seed, position) * sum_of(ids, weight);
  return ids[first_passing(ids, weight, [&](double sum) { return sum > target; })];
}

double log_softmax(const float* x, int64_t V, int32_t id) {
  const double max = *std::max_element(x, x + V);
  double sum = 0;
  for (int64_t i = 0; i < V; ++i) sum += std::exp(x[i] - max);
  return x[id] - max - std::log(sum);
}

}  // namespace

Status sample_reference(Context&, const SampleArgs& a, std::byte*) {
  const int64_t V = a.logits.shape[1];
  for (int64_t b = 0; b < a.logits.shape[0]; ++b) {
    const float* x = Rows(a.logits).row<float>(b);
    const bool finite = std::all_of(x, x + V, [](float v) { return std::isfinite(v); });
    const int32_t id = finite ? choose(x, V, a.params[b], a.positions.as<int32_t>()[b]) : -1;
    a.ids.as<int32_t>()[b] = id;
    a.logprobs.as<float>()[b] = finite ? float(log_softmax(x, V, id)) : std::numeric_limits<float>::quiet_NaN();
  }
  return {};
}

}  // namespace sluice
