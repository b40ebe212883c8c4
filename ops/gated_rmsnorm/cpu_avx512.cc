#include "core/simd_avx512.h"
#include "ops/gated_rmsnorm/body.h"

namespace sluice {

Status gated_rmsnorm_avx512(Context& ctx, const GatedRmsnormArgs& a, std::byte* scratch) {
  return gated_rmsnorm_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
