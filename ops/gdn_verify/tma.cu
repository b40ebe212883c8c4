#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_verify/forms.h"

namespace sluice {

Status gdn_verify_tma(Context& ctx, const GdnVerifyArgs& a, std::byte*) { return gdn::append_tma(ctx, a, gdn::Closing::kNever); }

}  // namespace sluice
