#include "core/rows.h"
#include "ops/embed/forms.h"

namespace sluice {

Status embed_reference(Context&, const EmbedArgs& a, std::byte*) {
  const Rows table(a.table), out(a.out);
  visit_float(a.table, [&]<class W>(W*) {
    for (int64_t t = 0; t < out.count(); ++t)
      for (int64_t d = 0; d < out.length(); ++d) out.row<float>(t)[d] = float(table.row<W>(a.ids.as<int32_t>()[t])[d]);
  });
  return {};
}

}  // namespace sluice
