#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_verify/forms.h"

namespace sluice {

Status gdn_verify_sm90(Context& ctx, const GdnVerifyArgs& a, std::byte*) { return gdn::append_sm90(ctx, a, gdn::Closing::kNever); }

}  // namespace sluice
