#include "ops/hadamard/body.h"

namespace sluice {

Status hadamard_cpu(Context& ctx, const HadamardArgs& a, std::byte* scratch) { return hadamard_body<simd::Plain>(ctx, a, scratch); }

}  // namespace sluice
