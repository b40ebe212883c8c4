#include "core/simd_avx2.h"
#include "ops/mla_rope_quantize/body.h"

namespace sluice {

Status mla_rope_quantize_avx2(Context& ctx, const MlaRopeQuantizeArgs& args, std::byte* scratch) {
  return mla_rope_quantize_body<simd::Avx2>(ctx, args, scratch);
}

}  // namespace sluice
