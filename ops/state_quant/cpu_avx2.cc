#include "core/simd_avx2.h"
#include "ops/state_quant/body.h"

namespace sluice {

Status state_quant_avx2(Context& ctx, const StateQuantArgs& a, std::byte*) { return state_quant_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
