#include "core/simd_avx2.h"
#include "ops/gdn_step/body.h"

namespace sluice {

Status gdn_step_avx2(Context& ctx, const GdnStepArgs& a, std::byte* scratch) { return gdn_step_body<simd::Avx2>(ctx, a, scratch); }

}  // namespace sluice
