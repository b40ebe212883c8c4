#include "core/simd_avx2.h"
#include "ops/index_logits/body.h"

namespace sluice {

Status index_logits_avx2(Context& ctx, const IndexLogitsArgs& args, std::byte* scratch) {
  return index_logits_body<simd::Avx2>(ctx, args, scratch);
}

}  // namespace sluice
