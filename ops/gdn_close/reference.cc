#include "ops/gdn_chunk/reference.h"

#include "ops/gdn_close/forms.h"

namespace sluice {

Status gdn_close_reference(Context&, const GdnCloseArgs& a, std::byte*) {
  for (int64_t b = 0; b < a.slots.dim(0); ++b) {
    const int64_t slot = a.slots.as<int32_t>()[b], rows = a.rows.as<int32_t>()[b];
    if (slot < 0 || rows == 0) continue;
    for (int64_t head = 0; head < a.state.s.dim(1); ++head) {
      const std::vector<double> x = gdn::current_state(a.state, slot, head, rows);
      float* s = a.state.s[slot][head].as<float>();
      for (size_t i = 0; i < x.size(); ++i) s[i] = float(x[i]);
    }
  }
  return {};
}

}  // namespace sluice
