#include "core/simd_avx512.h"
#include "ops/state_quant/body.h"

namespace sluice {

Status state_quant_avx512(Context& ctx, const StateQuantArgs& a, std::byte*) { return state_quant_body<simd::Avx512>(ctx, a); }

}  // namespace sluice
