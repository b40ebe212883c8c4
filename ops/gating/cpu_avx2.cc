#include "core/simd_avx2.h"
#include "ops/gating/body.h"

namespace sluice {

Status gating_avx2(Context& ctx, const GatingArgs& a, std::byte*) { return gating_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
