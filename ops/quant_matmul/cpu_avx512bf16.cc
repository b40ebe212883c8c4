#include "core/simd_avx512.h"
#include "ops/quant_matmul/fp8_body.h"

namespace sluice {
namespace {

// vdpbf16ps adds two products to each fp32 lane. It flushes denormals to zero.
struct Fp8 {
  using V = simd::Avx512;
  using Element = Bf16;
  static constexpr int kStep = 2 * simd::kLanes;
  static SLUICE_INLINE __m512bh load(const Bf16* p) { return __m512bh(_mm512_loadu_si512(p)); }
  static SLUICE_INLINE V::F dot(__m512bh x, __m512bh w, V::F sum) { return _mm512_dpbf16_ps(sum, x, w); }
};

}  // namespace

Status quant_matmul_avx512_bf16(Context& ctx, const QuantMatmulArgs& a, std::byte* scratch) {
  return fp8_matmul<Fp8>(ctx, a, scratch);
}
size_t quant_matmul_avx512_bf16_workspace(const Context& ctx, const QuantMatmulArgs& a) { return fp8_workspace<Fp8>(ctx, a); }

}  // namespace sluice
