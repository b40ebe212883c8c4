#include "core/simd_avx2.h"
#include "ops/l2norm/body.h"

namespace sluice {

Status l2norm_avx2(Context& ctx, const L2normArgs& a, std::byte*) { return l2norm_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
