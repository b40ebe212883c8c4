#include "core/simd_avx512.h"
#include "ops/matmul/dot_body.h"

namespace sluice {
namespace {
using Dot = DotFp32<simd::Avx512, 6>;
}

Status matmul_avx512(Context& ctx, const MatmulArgs& a, std::byte* scratch) { return matmul_dot_widened<Dot>(ctx, a, scratch); }
size_t matmul_avx512_workspace(const Context& ctx, const MatmulArgs& a) {
  return dot_workspace(a, dot_shape<Dot>(), ctx.team->size());
}

}  // namespace sluice
