#include "ops/gating/body.h"

namespace sluice {

Status gating_cpu(Context& ctx, const GatingArgs& a, std::byte*) { return gating_body<simd::Plain>(ctx, a); }

}  // namespace sluice
