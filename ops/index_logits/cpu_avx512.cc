#include "core/simd_avx512.h"
#include "ops/index_logits/body.h"

namespace sluice {

Status index_logits_avx512(Context& ctx, const IndexLogitsArgs& args, std::byte* scratch) {
  return index_logits_body<simd::Avx512>(ctx, args, scratch);
}

}  // namespace sluice
