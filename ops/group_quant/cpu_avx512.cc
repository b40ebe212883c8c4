#include "core/simd_avx512.h"
#include "ops/group_quant/body.h"

namespace sluice {

Status group_quant_avx512(Context& ctx, const GroupQuantArgs& args, std::byte*) {
  return group_quant_body<simd::Avx512>(ctx, args);
}

}  // namespace sluice
