#include "core/simd_avx512.h"
#include "ops/silu_mul/body.h"

namespace sluice {

Status silu_mul_avx512(Context& ctx, const SiluMulArgs& a, std::byte*) { return silu_mul_body<simd::Avx512>(ctx, a); }

}  // namespace sluice
