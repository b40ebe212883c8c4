#include "core/simd_avx2.h"
#include "ops/rope/body.h"

namespace sluice {

Status rope_avx2(Context& ctx, const RopeArgs& a, std::byte* scratch) { return rope_body<simd::Avx2>(ctx, a, scratch); }

}  // namespace sluice
