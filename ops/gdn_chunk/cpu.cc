#include "ops/gdn_chunk/body.h"
#include "ops/gdn_chunk/forms.h"

namespace sluice::gdn {

Status append_cpu(Context& ctx, const GdnArgs& a, Closing closing, std::byte* scratch, const Checkpoints& checkpoints) {
  return append_body<simd::Plain>(ctx, make_view(a, closing, checkpoints), scratch);
}

}  // namespace sluice::gdn
