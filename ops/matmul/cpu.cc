#include "ops/matmul/dot_body.h"

namespace sluice {
namespace {
using Dot = DotFp32<simd::Plain, 1>;
}

Status matmul_cpu(Context& ctx, const MatmulArgs& a, std::byte* scratch) { return matmul_dot_widened<Dot>(ctx, a, scratch); }
size_t matmul_cpu_workspace(const Context& ctx, const MatmulArgs& a) {
  return dot_workspace(a, dot_shape<Dot>(), ctx.team->size());
}

}  // namespace sluice
