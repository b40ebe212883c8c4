#include "ops/quant_matmul/avx2_lines.h"
#include "ops/quant_matmul/fp8_body.h"

namespace sluice {

using Fp8 = Fp8Widened<simd::Avx2>;

Status quant_matmul_avx2(Context& ctx, const QuantMatmulArgs& a, std::byte* scratch) {
  return code_type(a.w) == CodeType::kFp8 ? fp8_matmul<Fp8>(ctx, a, scratch) : integer_matmul<Avx2Lines>(ctx, a, scratch);
}
size_t quant_matmul_avx2_workspace(const Context& ctx, const QuantMatmulArgs& a) {
  return code_type(a.w) == CodeType::kFp8 ? fp8_workspace<Fp8>(ctx, a) : integer_workspace<Avx2Lines>(ctx, a);
}

}  // namespace sluice
