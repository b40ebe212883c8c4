#include "core/simd_avx2.h"
#include "ops/token_logprobs/body.h"

namespace sluice {

Status token_logprobs_avx2(Context& ctx, const TokenLogprobsArgs& a, std::byte* scratch) {
  return token_logprobs_body<simd::Avx2>(ctx, a, scratch);
}

}  // namespace sluice
