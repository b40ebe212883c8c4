#include "ops/gdn_step/body.h"

namespace sluice {

Status gdn_step_cpu(Context& ctx, const GdnStepArgs& a, std::byte* scratch) { return gdn_step_body<simd::Plain>(ctx, a, scratch); }

}  // namespace sluice
