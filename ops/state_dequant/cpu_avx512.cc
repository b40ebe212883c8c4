#include "core/simd_avx512.h"
#include "ops/state_dequant/body.h"

namespace sluice {

Status state_dequant_avx512(Context& ctx, const StateDequantArgs& a, std::byte*) {
  return state_dequant_body<simd::Avx512>(ctx, a);
}

}  // namespace sluice
