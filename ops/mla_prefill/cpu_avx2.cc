#include "ops/gqa_prefill/lanes_avx2.h"
#include "ops/mla_prefill/body.h"

namespace sluice {

Status mla_prefill_avx2(Context& ctx, const MlaPrefillArgs& a, std::byte* scratch) {
  return mla_prefill_body<GqaAvx2>(ctx, a, scratch);
}

}  // namespace sluice
