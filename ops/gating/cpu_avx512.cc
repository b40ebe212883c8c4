#include "core/simd_avx512.h"
#include "ops/gating/body.h"

namespace sluice {

Status gating_avx512(Context& ctx, const GatingArgs& a, std::byte*) { return gating_body<simd::Avx512>(ctx, a); }

}  // namespace sluice
