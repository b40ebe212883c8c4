#include "ops/gqa_prefill/body.h"
#include "ops/gqa_prefill/lanes_avx512.h"

namespace sluice {

Status gqa_avx512(Context& ctx, const GqaArgs& a, std::byte* scratch) { return gqa_body<GqaAvx512>(ctx, a, scratch); }

}  // namespace sluice
