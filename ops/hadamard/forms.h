// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "ops/hadamard/hadamard.h"

namespace sluice {

Status hadamard_reference(Context&, const HadamardArgs&, std::byte*);
Status hadamard_cpu(Context&, const HadamardArgs&, std::byte*);
Status hadamard_avx2(Context&, const HadamardArgs&, std::byte*);
Status hadamard_avx512(Context&, const HadamardArgs&, std::byte*);
Status hadamard_cuda(Context&, const HadamardArgs&, std::byte*);

// The vector forms' scratch: a row of fp32 for each thread, this many elements.
constexpr int64_t hadamard_scratch_row(int64_t n) { return round_up(n, 16); }
size_t hadamard_workspace(const Context& ctx, const HadamardArgs& a);

}  // namespace sluice
