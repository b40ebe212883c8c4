#include "ops/state_dequant/forms.h"

namespace sluice {

Status state_dequant_reference(Context&, const StateDequantArgs& a, std::byte*) {
  for (int64_t n = 0; n < a.q.dim(0); ++n)
    for (int64_t r = 0; r < a.q.dim(1); ++r) {
      const double scale = a.scale[n].as<float>()[r];
      for (int64_t d = 0; d < a.q.dim(2); ++d) a.x[n][r].as<float>()[d] = float(a.q[n][r].as<int8_t>()[d] * scale);
    }
  return {};
}

}  // namespace sluice
