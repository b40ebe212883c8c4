#include "ops/gqa_prefill/body.h"
#include "ops/gqa_prefill/lanes_avx2.h"

namespace sluice {

Status gqa_avx2(Context& ctx, const GqaArgs& a, std::byte* scratch) { return gqa_body<GqaAvx2>(ctx, a, scratch); }

}  // namespace sluice
