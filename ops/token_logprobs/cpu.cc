#include "ops/token_logprobs/body.h"

namespace sluice {

Status token_logprobs_cpu(Context& ctx, const TokenLogprobsArgs& a, std::byte* scratch) {
  return token_logprobs_body<simd::Plain>(ctx, a, scratch);
}

}  // namespace sluice
