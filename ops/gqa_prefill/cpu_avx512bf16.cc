#include "ops/gqa_prefill/body.h"
#include "ops/gqa_prefill/lanes_avx512bf16.h"

namespace sluice {

Status gqa_avx512_bf16(Context& ctx, const GqaArgs& a, std::byte* scratch) {
  const GqaPlan plan = plan_gqa(ctx, a);
  GqaBody<GqaAvx512Bf16, Bf16>(a, plan, scratch).run(*ctx.team);
  return {};
}

}  // namespace sluice
