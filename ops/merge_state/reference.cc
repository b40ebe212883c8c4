#include <cmath>
#include <vector>

#include "ops/merge_state/forms.h"
#include "ops/merge_state/states.h"

namespace sluice {
namespace {

void merge(const TokenStates& states, const MergeStateArgs& args) {
  double most = -INFINITY;
  for (int64_t i = 0; i < states.count(); ++i) most = std::fmax(most, states.lse(i));
  const double shift = std::isinf(most) ? 0 : most;
  std::vector<double> v(size_t(args.out.v.dim(2)), 0.0);
  double total = 0;
  for (int64_t i = 0; i < states.count(); ++i) {
    const double weight = std::exp(states.lse(i) - shift);
    total += weight;
    if (weight == 0) continue;
    visit_partial(args.a.v, [&]<class X>(X*) {
      for (size_t d = 0; d < v.size(); ++d) v[d] += weight * states.scale(i) * float(states.v<X>(i)[d]);
    });
  }
  visit_value(args.out.v, [&]<class Y>(Y*) {
    for (size_t d = 0; d < v.size(); ++d) states.out<Y>()[d] = Y(float(total == 0 ? 0 : v[d] / total / args.out.scale));
  });
  states.put_lse(shift + std::log(total));
}

}  // namespace

Status merge_state_reference(Context&, const MergeStateArgs& args, std::byte*) {
  for (int64_t t = 0; t < args.out.v.dim(0); ++t)
    for (int64_t h = 0; h < args.out.v.dim(1); ++h) merge(TokenStates(args, t, h), args);
  return {};
}

}  // namespace sluice
