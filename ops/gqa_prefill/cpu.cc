#include "ops/gqa_prefill/body.h"

namespace sluice {

Status gqa_cpu(Context& ctx, const GqaArgs& a, std::byte* scratch) { return gqa_body<GqaPlain>(ctx, a, scratch); }

}  // namespace sluice
