#include "core/simd_avx2.h"
#include "ops/gdn_close/body.h"

namespace sluice {

Status gdn_close_avx2(Context& ctx, const GdnCloseArgs& a, std::byte* scratch) {
  return gdn_close_body<simd::Avx2>(ctx, a, scratch);
}

}  // namespace sluice
