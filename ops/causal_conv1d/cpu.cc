#include "ops/causal_conv1d/body.h"

namespace sluice {

Status causal_conv1d_cpu(Context& ctx, const CausalConv1dArgs& a, std::byte*) { return causal_conv1d_body<simd::Plain>(ctx, a); }

}  // namespace sluice
