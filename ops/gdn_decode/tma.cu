#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_decode/forms.h"

namespace sluice {

Status gdn_decode_tma(Context& ctx, const GdnDecodeArgs& a, std::byte*) { return gdn::append_tma(ctx, a, gdn::Closing::kWhenFull); }

}  // namespace sluice
