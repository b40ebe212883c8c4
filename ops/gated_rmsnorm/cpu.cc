#include "ops/gated_rmsnorm/body.h"

namespace sluice {

Status gated_rmsnorm_cpu(Context& ctx, const GatedRmsnormArgs& a, std::byte* scratch) {
  return gated_rmsnorm_body<simd::Plain>(ctx, a, scratch);
}

}  // namespace sluice
