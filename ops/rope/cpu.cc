#include "ops/rope/body.h"

namespace sluice {

Status rope_cpu(Context& ctx, const RopeArgs& a, std::byte* scratch) { return rope_body<simd::Plain>(ctx, a, scratch); }

}  // namespace sluice
