// The body of the vector forms: one row at a time, widened on the way.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/embed/forms.h"

namespace sluice {

template <class V>
Status embed_body(Context& ctx, const EmbedArgs& a) {
  const Rows table(a.table), out(a.out);
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(out.length(), 1));  // elements worth waking a thread for
  visit_float(a.table, [&]<class W>(W*) {
    ctx.team->split(out.count(), grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) simd::convert<V>(table.row<W>(a.ids.as<int32_t>()[t]), out.row<float>(t), out.length());
    });
  });
  return {};
}

}  // namespace sluice
