#include "core/simd_avx512.h"
#include "ops/rmsnorm/body.h"

namespace sluice {

Status rmsnorm_avx512(Context& ctx, const RmsnormArgs& a, std::byte* scratch) {
  return rmsnorm_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
