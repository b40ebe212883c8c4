#include "core/simd_avx512.h"
#include "ops/gdn_close/body.h"

namespace sluice {

Status gdn_close_avx512(Context& ctx, const GdnCloseArgs& a, std::byte* scratch) {
  return gdn_close_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
