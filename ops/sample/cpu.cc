#include "ops/sample/body.h"

namespace sluice {

Status sample_cpu(Context& ctx, const SampleArgs& a, std::byte* scratch) { return sample_body<simd::Plain>(ctx, a, scratch); }

}  // namespace sluice
