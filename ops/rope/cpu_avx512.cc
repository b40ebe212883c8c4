#include "core/simd_avx512.h"
#include "ops/rope/body.h"

namespace sluice {

Status rope_avx512(Context& ctx, const RopeArgs& a, std::byte* scratch) { return rope_body<simd::Avx512>(ctx, a, scratch); }

}  // namespace sluice
