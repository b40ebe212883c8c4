#include "ops/rmsnorm/body.h"

namespace sluice {

Status rmsnorm_cpu(Context& ctx, const RmsnormArgs& a, std::byte* scratch) { return rmsnorm_body<simd::Plain>(ctx, a, scratch); }

}  // namespace sluice
