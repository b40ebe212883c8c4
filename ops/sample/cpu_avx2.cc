#include "core/simd_avx2.h"
#include "ops/sample/body.h"

namespace sluice {

Status sample_avx2(Context& ctx, const SampleArgs& a, std::byte* scratch) { return sample_body<simd::Avx2>(ctx, a, scratch); }

}  // namespace sluice
