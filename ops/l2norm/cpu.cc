#include "ops/l2norm/body.h"

namespace sluice {

Status l2norm_cpu(Context& ctx, const L2normArgs& a, std::byte*) { return l2norm_body<simd::Plain>(ctx, a); }

}  // namespace sluice
