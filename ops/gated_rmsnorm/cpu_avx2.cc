#include "core/simd_avx2.h"
#include "ops/gated_rmsnorm/body.h"

namespace sluice {

Status gated_rmsnorm_avx2(Context& ctx, const GatedRmsnormArgs& a, std::byte* scratch) {
  return gated_rmsnorm_body<simd::Avx2>(ctx, a, scratch);
}

}  // namespace sluice
