#include "core/simd_avx512.h"
#include "ops/token_logprobs/body.h"

namespace sluice {

Status token_logprobs_avx512(Context& ctx, const TokenLogprobsArgs& a, std::byte* scratch) {
  return token_logprobs_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
