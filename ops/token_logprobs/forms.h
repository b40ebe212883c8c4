// The implementations, one a file.
#pragma once

#include "ops/token_logprobs/token_logprobs.h"

namespace sluice {

Status token_logprobs_reference(Context&, const TokenLogprobsArgs&, std::byte*);
size_t token_logprobs_workspace(const Context&, const TokenLogprobsArgs&);
Status token_logprobs_cpu(Context&, const TokenLogprobsArgs&, std::byte*);
Status token_logprobs_avx2(Context&, const TokenLogprobsArgs&, std::byte*);
Status token_logprobs_avx512(Context&, const TokenLogprobsArgs&, std::byte*);
Can token_logprobs_cuda_can(const TokenLogprobsArgs&);
size_t token_logprobs_cuda_workspace(const Context&, const TokenLogprobsArgs&);
Status token_logprobs_cuda(Context&, const TokenLogprobsArgs&, std::byte*);

}  // namespace sluice
