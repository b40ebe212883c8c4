#include "core/simd_avx2.h"
#include "ops/matmul/dot_body.h"

namespace sluice {
namespace {

// Eight lanes, so that a tile of 3 rows by 4 has 12 sums in the 16 registers, and 12 FMAs for 7 loads: two loads a cycle keep two
// FMAs a cycle fed. (Sums of sixteen lanes would be six, and 10 loads for the same 12 FMAs.)
struct Lanes : simd::Avx2 {
  using F = __m256;
  static SLUICE_INLINE F zero() { return _mm256_setzero_ps(); }
  // out[i] = the sum of a[i]'s lanes, 4 apart, then 2, then 1.
  static SLUICE_INLINE void reduce_add8(const F (&a)[8], float* out) {
    F four[4], two[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      four[i] = _mm256_add_ps(_mm256_permute2f128_ps(a[i], a[i + 4], 0x20), _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) two[i] = add_lanes<0x44, 0xee>(four[2 * i], four[2 * i + 1]);
    _mm256_storeu_ps(out, add_lanes<0x88, 0xdd>(two[0], two[1]));
  }
};

struct Dot {
  using V = Lanes;
  using Element = float;
  using Operand = __m256;
  static constexpr int kStep = 8, kTileRows = 3;
  static SLUICE_INLINE Operand load(const float* p) { return _mm256_loadu_ps(p); }
  static SLUICE_INLINE Operand load(const Bf16* p) { return V::widen_bf16(V::load8(p)); }
  static SLUICE_INLINE Operand load_n(const float* p, int n) { return _mm256_maskload_ps(p, V::first(n, 0)); }
  static SLUICE_INLINE Operand load_n(const Bf16* p, int n) {
    if (n == kStep) return load(p);
    Bf16 lanes[kStep] = {};
    std::memcpy(lanes, p, size_t(n) * sizeof(Bf16));
    return load(lanes);
  }
  static SLUICE_INLINE void store(float* p, Operand v) { _mm256_storeu_ps(p, v); }
  static SLUICE_INLINE Operand dot(Operand x, Operand w, Operand sum) { return _mm256_fmadd_ps(x, w, sum); }
};

}  // namespace

Status matmul_avx2(Context& ctx, const MatmulArgs& a, std::byte* scratch) { return matmul_dot_widened<Dot>(ctx, a, scratch); }
size_t matmul_avx2_workspace(const Context& ctx, const MatmulArgs& a) {
  return dot_workspace(a, dot_shape<Dot>(), ctx.team->size());
}

}  // namespace sluice
