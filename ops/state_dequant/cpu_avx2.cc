#include "core/simd_avx2.h"
#include "ops/state_dequant/body.h"

namespace sluice {

Status state_dequant_avx2(Context& ctx, const StateDequantArgs& a, std::byte*) { return state_dequant_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
