#include "core/simd_avx512.h"
#include "ops/hadamard/body.h"

namespace sluice {

Status hadamard_avx512(Context& ctx, const HadamardArgs& a, std::byte* scratch) {
  return hadamard_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
