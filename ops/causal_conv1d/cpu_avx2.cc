#include "core/simd_avx2.h"
#include "ops/causal_conv1d/body.h"

namespace sluice {

Status causal_conv1d_avx2(Context& ctx, const CausalConv1dArgs& a, std::byte*) { return causal_conv1d_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
