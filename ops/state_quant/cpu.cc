#include "ops/state_quant/body.h"

namespace sluice {

Status state_quant_cpu(Context& ctx, const StateQuantArgs& a, std::byte*) { return state_quant_body<simd::Plain>(ctx, a); }

}  // namespace sluice
