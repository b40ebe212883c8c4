#include "core/simd_avx2.h"
#include "ops/moe_gate/body.h"

namespace sluice {

Status moe_gate_avx2(Context& ctx, const MoeGateArgs& args, std::byte*) { return moe_gate_body<simd::Avx2>(ctx, args); }

}  // namespace sluice
