// The implementations, one a file.
#pragma once

#include "ops/index_logits/index_logits.h"

namespace sluice {

Status index_logits_reference(Context&, const IndexLogitsArgs&, std::byte*);
Status index_logits_cpu(Context&, const IndexLogitsArgs&, std::byte*);
Status index_logits_avx2(Context&, const IndexLogitsArgs&, std::byte*);
Status index_logits_avx512(Context&, const IndexLogitsArgs&, std::byte*);
Status index_logits_cuda(Context&, const IndexLogitsArgs&, std::byte*);
Status index_logits_sm90(Context&, const IndexLogitsArgs&, std::byte*);

// The vector forms' scratch, fp32 elements for each thread: a token's queries, and sixteen keys.
constexpr int64_t index_logits_scratch(int64_t heads, int64_t dim) { return (heads + 16) * dim; }
size_t index_logits_workspace(const Context&, const IndexLogitsArgs&);

}  // namespace sluice
