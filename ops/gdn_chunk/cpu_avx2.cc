#include "core/simd_avx2.h"
#include "ops/gdn_chunk/body.h"
#include "ops/gdn_chunk/forms.h"

namespace sluice::gdn {

Status append_avx2(Context& ctx, const GdnArgs& a, Closing closing, std::byte* scratch, const Checkpoints& checkpoints) {
  return append_body<simd::Avx2>(ctx, make_view(a, closing, checkpoints), scratch);
}

}  // namespace sluice::gdn
