#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/merge_state/states.h"
#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/keys.h"

namespace sluice {
namespace {

// A row of the cache as doubles.
std::vector<double> key_at(const MlaDecodeArgs& a, const std::byte* row) {
  const int64_t R = a.q_nope.dim(2), P = a.q_pe.dim(2);
  std::vector<double> key(size_t(R + P));
  visit_mla_key(a, [&]<class X>(X*) {
    std::vector<X> elements(key.size());
    if constexpr (sizeof(X) == 2)
      if (mla_fp8(a)) return mla_read_fp8(row, R, P, elements.data()), void(key.assign(elements.begin(), elements.end()));
    std::memcpy(elements.data(), row, elements.size() * sizeof(X));
    key.assign(elements.begin(), elements.end());
  });
  return key;
}

// A query as doubles, as rounded as the products take it.
std::vector<double> query_at(const MlaDecodeArgs& a, int64_t t, int64_t h) {
  std::vector<double> q;
  for (const Tensor& part : {a.q_nope, a.q_pe})
    visit_float(part, [&]<class Q>(Q*) {
      visit_mla_key(a, [&]<class X>(X*) {
        const Q* from = part.as<Q>() + t * part.stride[0] + h * part.stride[1];
        for (int64_t d = 0; d < part.dim(2); ++d) q.push_back(float(X(float(from[d]))));
      });
    });
  return q;
}

void attend(const MlaDecodeArgs& a, int64_t t, int64_t h, const std::vector<std::vector<double>>& keys) {
  const std::vector<double> q = query_at(a, t, h);
  std::vector<double> score, o(size_t(a.o.dim(2)));
  double most = -INFINITY, total = 0;
  for (const auto& key : keys) {
    double s = 0;
    for (size_t d = 0; d < key.size(); ++d) s += q[d] * key[d];
    score.push_back(s * a.scale), most = std::fmax(most, score.back());
  }
  for (size_t j = 0; j < keys.size(); ++j) {
    const double weight = std::exp(score[j] - most);
    total += weight;
    for (size_t d = 0; d < o.size(); ++d) o[d] += weight * keys[j][d];
  }
  visit_float(a.o, [&]<class O>(O*) {
    O* out = a.o.as<O>() + t * a.o.stride[0] + h * a.o.stride[1];
    for (size_t d = 0; d < o.size(); ++d) out[d] = O(float(keys.empty() ? 0 : o[d] / total));
  });
  if (a.lse.present())
    a.lse.as<float>()[t * a.lse.stride[0] + h * a.lse.stride[1]] = float((most + std::log(total)) / natural_log_of(a.base));
}

}  // namespace

Status mla_decode_reference(Context&, const MlaDecodeArgs& a, std::byte*) {
  for (int64_t t = 0; t < a.q_nope.dim(0); ++t) {
    const MlaKeyList list(a, t);
    std::vector<std::vector<double>> keys;
    for (int64_t j = 0; j < list.count(); ++j)
      if (const std::byte* row = list.at(j)) keys.push_back(key_at(a, row));
    for (int64_t h = 0; h < a.q_nope.dim(1); ++h) attend(a, t, h, keys);
  }
  return {};
}

}  // namespace sluice
