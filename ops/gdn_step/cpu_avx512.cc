#include "core/simd_avx512.h"
#include "ops/gdn_step/body.h"

namespace sluice {

Status gdn_step_avx512(Context& ctx, const GdnStepArgs& a, std::byte* scratch) {
  return gdn_step_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
