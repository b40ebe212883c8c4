#include "ops/gdn_close/body.h"

namespace sluice {

Status gdn_close_cpu(Context& ctx, const GdnCloseArgs& a, std::byte* scratch) {
  return gdn_close_body<simd::Plain>(ctx, a, scratch);
}

}  // namespace sluice
