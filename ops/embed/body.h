// The body of the vector forms: one row at a time, widened on the way.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/embed/forms.h"

namespace sluice {

// A row of int8 or int4 codes times its scales.
template <class V, class S>
SLUICE_INLINE void embed_codes(const Tensor& table, int64_t id, const S* scale, int64_t group, float* out, int64_t length) {
  const uint8_t* row = row_of_codes(table, id);
  for (int64_t d = 0; d < length; d += kQuantGroup) {
    int8_t codes[kQuantGroup];
    if (table.dtype == DType::kI8) std::memcpy(codes, row + d, sizeof codes);
    else
      for (int64_t i = 0; i < kQuantGroup; ++i) codes[i] = int8_t(int4_code(row, d + i));
    const auto by = V::set1(float(scale[d / group]));
    for (int64_t i = 0; i < kQuantGroup; i += simd::kLanes) V::store(out + d + i, V::mul(V::load(codes + i), by));
  }
}

template <class V>
Status embed_body(Context& ctx, const EmbedArgs& a) {
  const Rows table(a.table), out(a.out);
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(out.length(), 1));  // elements worth waking a thread for
  const auto each_token = [&](auto&& f) {
    ctx.team->split(out.count(), grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) f(a.ids.as<int32_t>()[t], out.row<float>(t));
    });
  };
  if (a.scale.present()) {
    const int64_t group = scale_group(a.table, a.scale);
    visit_scale(a.scale, [&]<class S>(S*) {
      each_token([&](int64_t id, float* to) {
        embed_codes<V>(a.table, id, a.scale.as<S>() + id * a.scale.stride[0], group, to, out.length());
      });
    });
    return {};
  }
  visit_float(a.table, [&]<class W>(W*) {
    each_token([&](int64_t id, float* to) { simd::convert<V>(table.row<W>(id), to, out.length()); });
  });
  return {};
}

}  // namespace sluice
