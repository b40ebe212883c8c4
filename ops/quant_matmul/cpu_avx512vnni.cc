#include "ops/quant_matmul/avx512_lines.h"

namespace sluice {
namespace {

struct Vnni {
  static SLUICE_INLINE __m512i dot(__m512i sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, w, x); }
};

}  // namespace

Status quant_matmul_avx512_vnni(Context& ctx, const QuantMatmulArgs& a, std::byte* scratch) {
  return integer_matmul<Avx512Lines<Vnni>>(ctx, a, scratch);
}
size_t quant_matmul_avx512_vnni_workspace(const Context& ctx, const QuantMatmulArgs& a) {
  return integer_workspace<Avx512Lines<Vnni>>(ctx, a);
}

}  // namespace sluice
