// The body of the vector forms: a group at a time, widened in L1.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "ops/group_quant/forms.h"
#include "ops/group_quant/quantise.h"

namespace sluice {

// v = silu(gate) * up, rounded to X.
template <class V, class X>
SLUICE_INLINE void group_quant_silu_mul(const X* gate, const X* up, float* v, int n) {
  X rounded[simd::kLanes];
  for (int i = 0; i < n; i += simd::kLanes) {
    V::store(rounded, V::mul(simd::silu<V>(V::load(gate + i)), V::load(up + i)));
    V::store(v + i, V::load(rounded));
  }
}

template <class V, class X>
SLUICE_INLINE void group_quant_row(const GroupQuantArgs& args, const X* x, const QuantisedRow& row, int64_t length) {
  alignas(64) float v[kMostGroup];
  const int n = args.out.group;
  for (int64_t g = 0; g < length / n; ++g) {
    const X* from = x + g * n;
    if (args.silu_mul) group_quant_silu_mul<V>(from, from + length, v, n);
    else simd::convert<V>(from, v, n);
    quantise_group<V>(row, g, v, n);
  }
}

template <class V>
Status group_quant_body(Context& ctx, const GroupQuantArgs& args) {
  const Rows x(args.x);
  const int64_t length = args.out.q.shape[args.out.q.rank - 1], per_expert = args.x.shape[args.x.rank - 2];
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(length, 1));  // elements worth waking a thread for
  const int32_t* rows = args.masked_m.present() ? args.masked_m.as<int32_t>() : nullptr;
  const int64_t step = rows ? args.masked_m.stride[0] : 0;
  visit_group_quant_input(args.x, [&]<class X>(X*) {
    ctx.team->split(x.count(), grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        if (rows && r % per_expert >= rows[r / per_expert * step]) continue;
        group_quant_row<V>(args, x.row<X>(r), QuantisedRow(args.out, r), length);
      }
    });
  });
  return {};
}

}  // namespace sluice
