#include "ops/gdn_chunk/reference.h"

#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/gdn_decode_classic/forms.h"

namespace sluice {
namespace {

void step_head(const GdnDecodeClassicArgs& a, int64_t b, int64_t slot, int64_t head) {
  const int64_t K = a.k.dim(2), V = a.v.dim(2), key_head = head / (a.v.dim(1) / a.k.dim(1));
  const std::vector<double> k = gdn::read_row(a.k, b, key_head, a.qk_l2norm, a.l2_eps),
                            q = gdn::read_row(a.q, b, key_head, a.qk_l2norm, a.l2_eps);
  std::vector<double> delta = gdn::read_row(a.v, b, head, false, 0);
  const double decay = std::exp(double(a.log_g[b].as<float>()[head])), beta = a.beta[b].as<float>()[head];
  visit_float(a.state, [&]<class S>(S*) {
    S* s = a.state[slot][head].as<S>();
    std::vector<double> x(K * V);
    for (size_t i = 0; i < x.size(); ++i) x[i] = decay * float(s[i]);
    const std::vector<double> known = gdn::transposed_times(x, k, V);
    for (int64_t e = 0; e < V; ++e) delta[e] = beta * (delta[e] - known[e]);
    for (int64_t d = 0; d < K; ++d)
      for (int64_t e = 0; e < V; ++e) x[d * V + e] += k[d] * delta[e];
    for (size_t i = 0; i < x.size(); ++i) s[i] = S(float(x[i]));
    std::vector<double> o = gdn::transposed_times(x, q, V);
    for (double& e : o) e *= a.scale;
    gdn::write_row(a.o, b, head, o);
  });
}

}  // namespace

Status gdn_decode_classic_reference(Context&, const GdnDecodeClassicArgs& a, std::byte*) {
  for (int64_t b = 0; b < a.slots.dim(0); ++b)
    for (int64_t head = 0; head < a.v.dim(1); ++head) {
      const int64_t slot = a.slots.as<int32_t>()[b];
      if (slot < 0) gdn::write_row(a.o, b, head, std::vector<double>(a.v.dim(2), 0.0));
      else step_head(a, b, slot, head);
    }
  return {};
}

}  // namespace sluice
