#include "core/simd_avx2.h"
#include "ops/group_quant/body.h"

namespace sluice {

Status group_quant_avx2(Context& ctx, const GroupQuantArgs& args, std::byte*) { return group_quant_body<simd::Avx2>(ctx, args); }

}  // namespace sluice
