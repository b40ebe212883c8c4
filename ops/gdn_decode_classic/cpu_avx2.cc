#include "core/simd_avx2.h"
#include "ops/gdn_decode_classic/body.h"

namespace sluice {

Status gdn_decode_classic_avx2(Context& ctx, const GdnDecodeClassicArgs& a, std::byte* scratch) {
  return gdn_decode_classic_body<simd::Avx2>(ctx, a, scratch);
}

}  // namespace sluice
