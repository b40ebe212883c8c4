#include "ops/gdn_decode_classic/body.h"

namespace sluice {

Status gdn_decode_classic_cpu(Context& ctx, const GdnDecodeClassicArgs& a, std::byte* scratch) {
  return gdn_decode_classic_body<simd::Plain>(ctx, a, scratch);
}

}  // namespace sluice
