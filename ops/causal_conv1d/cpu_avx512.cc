#include "core/simd_avx512.h"
#include "ops/causal_conv1d/body.h"

namespace sluice {

Status causal_conv1d_avx512(Context& ctx, const CausalConv1dArgs& a, std::byte*) {
  return causal_conv1d_body<simd::Avx512>(ctx, a);
}

}  // namespace sluice
