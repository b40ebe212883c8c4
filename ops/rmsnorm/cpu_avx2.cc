#include "core/simd_avx2.h"
#include "ops/rmsnorm/body.h"

namespace sluice {

Status rmsnorm_avx2(Context& ctx, const RmsnormArgs& a, std::byte* scratch) { return rmsnorm_body<simd::Avx2>(ctx, a, scratch); }

}  // namespace sluice
