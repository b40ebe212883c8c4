// The implementations, one a file.
#pragma once

#include "ops/index_topk/index_topk.h"

namespace sluice {

Status index_topk_reference(Context&, const IndexTopkArgs&, std::byte*);
Status index_topk_cpu(Context&, const IndexTopkArgs&, std::byte*);
Status index_topk_avx2(Context&, const IndexTopkArgs&, std::byte*);
Status index_topk_avx512(Context&, const IndexTopkArgs&, std::byte*);
Status index_topk_cuda(Context&, const IndexTopkArgs&, std::byte*);

size_t index_topk_workspace(const Context&, const IndexTopkArgs&);       // of the vector forms: candidates, for each thread
size_t index_topk_cuda_workspace(const Context&, const IndexTopkArgs&);  // histograms of rows that no cluster holds

}  // namespace sluice
