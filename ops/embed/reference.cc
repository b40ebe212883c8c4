#include "core/rows.h"
#include "ops/embed/forms.h"

namespace sluice {

Status embed_reference(Context&, const EmbedArgs& a, std::byte*) {
  const Rows table(a.table), out(a.out);
  if (a.scale.present()) {
    const int64_t group = scale_group(a.table, a.scale);
    visit_scale(a.scale, [&]<class S>(S*) {
      for (int64_t t = 0; t < out.count(); ++t) {
        const int64_t id = a.ids.as<int32_t>()[t];
        const S* scale = a.scale.as<S>() + id * a.scale.stride[0];
        for (int64_t d = 0; d < out.length(); ++d) out.row<float>(t)[d] = float(code_at(a.table, id, d)) * float(scale[d / group]);
      }
    });
    return {};
  }
  visit_float(a.table, [&]<class W>(W*) {
    for (int64_t t = 0; t < out.count(); ++t)
      for (int64_t d = 0; d < out.length(); ++d) out.row<float>(t)[d] = float(table.row<W>(a.ids.as<int32_t>()[t])[d]);
  });
  return {};
}

}  // namespace sluice
