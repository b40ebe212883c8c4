// The implementations, one a file.
#pragma once

#include "ops/sample/sample.h"

namespace sluice {

Status sample_reference(Context&, const SampleArgs&, std::byte*);
size_t sample_workspace(const Context&, const SampleArgs&);
Status sample_cpu(Context&, const SampleArgs&, std::byte*);
Status sample_avx2(Context&, const SampleArgs&, std::byte*);
Status sample_avx512(Context&, const SampleArgs&, std::byte*);
Can sample_cuda_can(const SampleArgs&);
size_t sample_cuda_workspace(const Context&, const SampleArgs&);
Status sample_cuda(Context&, const SampleArgs&, std::byte*);

// Whether step 1 changes anything of row b.
bool sample_adjusts(const SampleArgs& a, int64_t b);

}  // namespace sluice
