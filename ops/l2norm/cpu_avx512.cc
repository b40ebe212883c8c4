#include "core/simd_avx512.h"
#include "ops/l2norm/body.h"

namespace sluice {

Status l2norm_avx512(Context& ctx, const L2normArgs& a, std::byte*) { return l2norm_body<simd::Avx512>(ctx, a); }

}  // namespace sluice
