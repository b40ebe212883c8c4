#include "ops/silu_mul/body.h"

namespace sluice {

Status silu_mul_cpu(Context& ctx, const SiluMulArgs& a, std::byte*) { return silu_mul_body<simd::Plain>(ctx, a); }

}  // namespace sluice
