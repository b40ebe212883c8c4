#include "ops/moe_gate/body.h"

namespace sluice {

Status moe_gate_cpu(Context& ctx, const MoeGateArgs& args, std::byte*) { return moe_gate_body<simd::Plain>(ctx, args); }

}  // namespace sluice
