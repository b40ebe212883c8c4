#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/merge_state/states.h"
#include "ops/mla_prefill/forms.h"

namespace sluice {
namespace {

template <class X, class O>
void attend(const MlaPrefillArgs& a, int64_t row, int64_t h, int64_t first_key, int64_t keys) {
  const int64_t N = a.k_nope.dim(2), P = a.q.dim(2) - N, V = a.v.dim(2);
  const auto at = [&](const Tensor& t, int64_t i) { return t.as<X>() + i * t.stride[0] + h * t.stride[1]; };
  const X* q = at(a.q, row);
  std::vector<double> score, o(static_cast<size_t>(V));
  double most = -INFINITY, total = 0;
  for (int64_t j = first_key; j < first_key + keys; ++j) {
    double s = 0;
    for (int64_t d = 0; d < N; ++d) s += double(float(q[d])) * float(at(a.k_nope, j)[d]);
    for (int64_t d = 0; d < P; ++d) s += double(float(q[N + d])) * float(a.k_pe.as<X>()[j * a.k_pe.stride[0] + d]);
    score.push_back(s * a.scale), most = std::fmax(most, score.back());
  }
  for (int64_t j = 0; j < keys; ++j) {
    const double weight = std::exp(score[size_t(j)] - most);
    total += weight;
    for (int64_t d = 0; d < V; ++d) o[size_t(d)] += weight * float(at(a.v, first_key + j)[d]);
  }
  O* out = a.o.as<O>() + row * a.o.stride[0] + h * a.o.stride[1];
  for (int64_t d = 0; d < V; ++d) out[d] = O(float(keys == 0 ? 0 : o[size_t(d)] / total));
  if (a.lse.present())
    a.lse.as<float>()[row * a.lse.stride[0] + h * a.lse.stride[1]] = float((most + std::log(total)) / natural_log_of(a.base));
}

}  // namespace

Status mla_prefill_reference(Context&, const MlaPrefillArgs& a, std::byte*) {
  for (int64_t b = 0; b + 1 < a.cu_seqlens_q.dim(0); ++b) {
    const MlaSequence s = mla_sequence(a, b);
    for (int64_t i = 0; i < s.rows; ++i)
      for (int64_t h = 0; h < a.q.dim(1); ++h)
        visit_float(a.q, [&]<class X>(X*) {
          visit_float(a.o, [&]<class O>(O*) { attend<X, O>(a, s.first_row + i, h, s.first_key, s.limit(i, a.causal)); });
        });
  }
  return {};
}

}  // namespace sluice
