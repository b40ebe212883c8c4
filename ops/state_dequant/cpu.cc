#include "ops/state_dequant/body.h"

namespace sluice {

Status state_dequant_cpu(Context& ctx, const StateDequantArgs& a, std::byte*) { return state_dequant_body<simd::Plain>(ctx, a); }

}  // namespace sluice
