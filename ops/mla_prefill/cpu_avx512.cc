#include "ops/gqa_prefill/lanes_avx512.h"
#include "ops/mla_prefill/body.h"

namespace sluice {

Status mla_prefill_avx512(Context& ctx, const MlaPrefillArgs& a, std::byte* scratch) {
  return mla_prefill_body<GqaAvx512>(ctx, a, scratch);
}

}  // namespace sluice
