#include "ops/quant_matmul/avx512_lines.h"
#include "ops/quant_matmul/fp8_body.h"

namespace sluice {
namespace {

using Fp8 = Fp8Widened<simd::Avx512>;

// Even and odd bytes apart, as 16 bits: vpmaddubsw would saturate.
struct Widened {
  static SLUICE_INLINE __m512i dot(__m512i sum, __m512i w, __m512i x) {
    const __m512i even =
        _mm512_madd_epi16(_mm512_and_si512(w, _mm512_set1_epi16(0xff)), _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8));
    const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(w, 8), _mm512_srai_epi16(x, 8));
    return _mm512_add_epi32(sum, _mm512_add_epi32(even, odd));
  }
};

}  // namespace

Status quant_matmul_avx512(Context& ctx, const QuantMatmulArgs& a, std::byte* scratch) {
  return code_type(a.w) == CodeType::kFp8 ? fp8_matmul<Fp8>(ctx, a, scratch)
                                          : integer_matmul<Avx512Lines<Widened>>(ctx, a, scratch);
}
size_t quant_matmul_avx512_workspace(const Context& ctx, const QuantMatmulArgs& a) {
  return code_type(a.w) == CodeType::kFp8 ? fp8_workspace<Fp8>(ctx, a) : integer_workspace<Avx512Lines<Widened>>(ctx, a);
}

}  // namespace sluice
