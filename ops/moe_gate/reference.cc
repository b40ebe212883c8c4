#include <algorithm>
#include <numeric>
#include <vector>

#include "ops/moe_gate/forms.h"
#include "ops/moe_gate/score.h"

namespace sluice {
namespace {

// One lane, the arithmetic of the language.
struct Scalar {
  using F = float;
  static float set1(float x) { return x; }
  static float add(float a, float b) { return a + b; }
  static float sub(float a, float b) { return a - b; }
  static float mul(float a, float b) { return a * b; }
  static float div(float a, float b) { return a / b; }
  static float min(float a, float b) { return a < b ? a : b; }
  static float max(float a, float b) { return a > b ? a : b; }
  static float scale_by_power_of_2(float a, float n) { return n != n ? n : std::ldexp(a, int(n)); }
};

float sum_of(const std::vector<float>& x) {
  float strand[kGateStrands] = {};
  for (size_t e = 0; e < x.size(); ++e) strand[e % kGateStrands] += x[e];
  for (int apart = kGateStrands / 2; apart > 0; apart /= 2)
    for (int i = 0; i < apart; ++i) strand[i] += strand[i + apart];
  return strand[0];
}

// Indices of the n largest of x in descending order: equal ones in rising order, NaN last.
std::vector<int64_t> largest(const std::vector<float>& x, int64_t n) {
  std::vector<int64_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::partial_sort(order, order.begin() + n, [&](int64_t i, int64_t j) {
    const float a = x[size_t(i)], b = x[size_t(j)];
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b) ? i < j : std::isnan(b);
    return a == b ? i < j : a > b;
  });
  order.resize(size_t(n));
  return order;
}

std::vector<float> scores(const std::vector<float>& logits, GateScoring scoring) {
  std::vector<float> s(logits);
  if (scoring == GateScoring::kSigmoid) {
    for (float& x : s) x = moe_gate_sigmoid<Scalar>(x);
    return s;
  }
  float m = -std::numeric_limits<float>::max();
  for (float& x : s) x = moe_gate_within<Scalar>(x), m = std::max(m, moe_gate_finite<Scalar>(x));
  std::vector<float> weights;
  for (const float x : s) weights.push_back(moe_gate_weight<Scalar>(x, m));
  const float sum = sum_of(weights);
  for (size_t e = 0; e < s.size(); ++e) s[e] = moe_gate_softmax<Scalar>(s[e], weights[e], sum);
  return s;
}

// The experts of the best groups, in rising order.
std::vector<int64_t> candidates(const std::vector<float>& c, const MoeGateArgs& a) {
  const auto size = int64_t(c.size()) / a.n_group;
  std::vector<float> score;
  for (auto group = c.begin(); group != c.end(); group += size) {
    const std::vector<float> of_group(group, group + size);
    const std::vector<int64_t> best = largest(of_group, std::min<int64_t>(size, 2));
    score.push_back(size == 1 ? of_group[0] : of_group[size_t(best[0])] + of_group[size_t(best[1])]);
  }
  std::vector<int64_t> groups = largest(score, a.topk_group), experts;
  std::ranges::sort(groups);
  for (const int64_t g : groups)
    for (int64_t e = g * size; e < (g + 1) * size; ++e) experts.push_back(e);
  return experts;
}

void route(const std::vector<float>& logits, const MoeGateArgs& a, float* weights, int32_t* ids) {
  const std::vector<float> s = scores(logits, a.scoring);
  std::vector<float> c = moe_gate_by_logit(a) ? logits : s;
  for (size_t e = 0; a.bias.present() && e < c.size(); ++e) c[e] += a.bias.as<float>()[e];
  const std::vector<int64_t> experts = candidates(c, a);
  std::vector<float> of_candidates, chosen;
  for (const int64_t e : experts) of_candidates.push_back(c[size_t(e)]);
  for (const int64_t i : largest(of_candidates, a.top_k)) {
    const int64_t e = experts[size_t(i)];
    ids[chosen.size()] = int32_t(e);
    chosen.push_back(s[size_t(e)]);
  }
  const float divisor = moe_gate_divisor<Scalar>(sum_of(chosen), a.renormalize);
  for (size_t i = 0; i < chosen.size(); ++i) weights[i] = chosen[i] / divisor * moe_gate_scale(a);
  if (!a.shared_expert) return;
  weights[a.top_k] = moe_gate_shared_weight(a);
  ids[a.top_k] = int32_t(c.size());
}

}  // namespace

Status moe_gate_reference(Context&, const MoeGateArgs& a, std::byte*) {
  for (int64_t t = 0; t < a.logits.dim(0); ++t) {
    std::vector<float> logits;
    for (int64_t e = 0; e < a.logits.dim(1); ++e) {
      const int64_t at = t * a.logits.stride[0] + e;
      logits.push_back(a.logits.dtype == DType::kBF16 ? float(a.logits.as<Bf16>()[at]) : a.logits.as<float>()[at]);
    }
    route(logits, a, a.topk_weights.as<float>() + t * a.topk_weights.stride[0],
          a.topk_ids.as<int32_t>() + t * a.topk_ids.stride[0]);
  }
  return {};
}

}  // namespace sluice
