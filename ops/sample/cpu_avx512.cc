#include "core/simd_avx512.h"
#include "ops/sample/body.h"

namespace sluice {

Status sample_avx512(Context& ctx, const SampleArgs& a, std::byte* scratch) { return sample_body<simd::Avx512>(ctx, a, scratch); }

}  // namespace sluice
