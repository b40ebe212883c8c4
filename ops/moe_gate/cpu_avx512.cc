#include "core/simd_avx512.h"
#include "ops/moe_gate/body.h"

namespace sluice {

Status moe_gate_avx512(Context& ctx, const MoeGateArgs& args, std::byte*) { return moe_gate_body<simd::Avx512>(ctx, args); }

}  // namespace sluice
