#include "core/simd_avx2.h"
#include "ops/hadamard/body.h"

namespace sluice {

Status hadamard_avx2(Context& ctx, const HadamardArgs& a, std::byte* scratch) { return hadamard_body<simd::Avx2>(ctx, a, scratch); }

}  // namespace sluice
