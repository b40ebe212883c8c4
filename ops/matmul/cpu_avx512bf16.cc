#include "core/simd_avx512.h"
#include "ops/matmul/dot_body.h"

namespace sluice {
namespace {

// Both operands bf16: vdpbf16ps adds two products to each fp32 lane. It flushes denormals to zero.
struct Dot {
  using V = simd::Avx512;
  using Element = Bf16;
  using Operand = __m512bh;
  static constexpr int kStep = 2 * simd::kLanes, kTileRows = 6;
  static SLUICE_INLINE Operand load(const Bf16* p) { return Operand(_mm512_loadu_si512(p)); }
  static SLUICE_INLINE Operand load_n(const Bf16* p, int n) {
    return Operand(_mm512_maskz_loadu_epi16(__mmask32((uint64_t(1) << n) - 1), p));
  }
  static SLUICE_INLINE void store(Bf16* p, Operand v) { _mm512_storeu_si512(p, __m512i(v)); }
  static SLUICE_INLINE V::F dot(Operand x, Operand w, V::F sum) { return _mm512_dpbf16_ps(sum, x, w); }
};

}  // namespace

Status matmul_avx512_bf16(Context& ctx, const MatmulArgs& a, std::byte* scratch) {
  return matmul_dot<Dot, Bf16, Bf16>(ctx, a, scratch);
}
size_t matmul_avx512_bf16_workspace(const Context& ctx, const MatmulArgs& a) {
  return dot_workspace(a, dot_shape<Dot>(), ctx.team->size());
}

}  // namespace sluice
