#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "core/rows.h"
#include "ops/sample/forms.h"
#include "ops/sample/philox.h"

namespace sluice {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void set_finite(float& z, float value) {
  z = std::clamp(value, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max());
}

std::vector<float> adjusted(const float* x, int64_t V, const SamplingParams& p, const SampleRow& row) {
  std::vector<float> z(x, x + V);
  const std::set<int32_t> allowed(row.allowed.begin(), row.allowed.end());
  for (int32_t id = 0; id < V; ++id)
    if (!allowed.empty() && !allowed.count(id)) z[id] = kNever;
  for (const auto& [id, bias] : row.bias)
    if (z[id] != kNever) set_finite(z[id], z[id] + bias);
  for (const auto& [id, in_prompt, out_count] : row.used) {
    if (z[id] == kNever) continue;
    if (in_prompt || out_count > 0) set_finite(z[id], z[id] > 0 ? z[id] / p.repetition_penalty : z[id] * p.repetition_penalty);
    if (out_count > 0) set_finite(z[id], z[id] - p.frequency_penalty * float(out_count));
    if (out_count > 0) set_finite(z[id], z[id] - p.presence_penalty);
  }
  for (const int32_t id : row.banned) z[id] = kNever;
  return z;
}

// The first of `ids`, in their order, at which the running weight passes a share of the whole; the last that has weight if none
// does.
template <class Passes>
size_t first_passing(const std::vector<int32_t>& ids, const std::vector<double>& weight, Passes passes) {
  double sum = 0;
  size_t last = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (passes(sum += weight[ids[i]])) return i;
    if (weight[ids[i]] > 0) last = i;
  }
  return last;
}

double sum_of(const std::vector<int32_t>& ids, const std::vector<double>& weight) {
  double sum = 0;
  for (const int32_t id : ids) sum += weight[id];
  return sum;
}

int32_t choose(const std::vector<float>& z, const SamplingParams& p, int32_t position) {
  std::vector<int32_t> ids(z.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t i, int32_t j) { return z[i] > z[j]; });
  if (z[ids[0]] == kNever) return kSampleNothingLeft;
  if (p.temperature == 0) return ids[0];
  std::vector<double> weight(z.size());  // relative to the best
  for (size_t i = 0; i < z.size(); ++i) weight[i] = std::exp((double(z[i]) - z[ids[0]]) / p.temperature);
  if (p.top_k > 0) ids.resize(std::min<size_t>(ids.size(), p.top_k));
  if (p.top_p < 1) {
    const double enough = p.top_p * sum_of(ids, weight);
    ids.resize(first_passing(ids, weight, [&](double sum) { return sum >= enough; }) + 1);
  }
  std::erase_if(ids, [&](int32_t id) { return weight[id] < p.min_p; });
  std::sort(ids.begin(), ids.end());
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
    int32_t id = kSampleNotFinite;
    if (finite)
      id = choose(adjusted(x, V, a.params[b], a.rows.empty() ? SampleRow{} : a.rows[b]), a.params[b], a.positions.as<int32_t>()[b]);
    a.ids.as<int32_t>()[b] = id;
    if (a.logprobs.present())
      a.logprobs.as<float>()[b] = id < 0 ? std::numeric_limits<float>::quiet_NaN() : float(log_softmax(x, V, id));
  }
  return {};
}

}  // namespace sluice
