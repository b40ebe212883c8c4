#include "core/simd_avx2.h"
#include "ops/silu_mul/body.h"

namespace sluice {

Status silu_mul_avx2(Context& ctx, const SiluMulArgs& a, std::byte*) { return silu_mul_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
