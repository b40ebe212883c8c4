// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "ops/gated_rmsnorm/gated_rmsnorm.h"

namespace sluice {

Status gated_rmsnorm_reference(Context&, const GatedRmsnormArgs&, std::byte*);
Status gated_rmsnorm_cpu(Context&, const GatedRmsnormArgs&, std::byte*);
Status gated_rmsnorm_avx2(Context&, const GatedRmsnormArgs&, std::byte*);
Status gated_rmsnorm_avx512(Context&, const GatedRmsnormArgs&, std::byte*);
Status gated_rmsnorm_cuda(Context&, const GatedRmsnormArgs&, std::byte*);

// The vector forms' scratch: an fp32 row of x and one of the gate for each thread, this many elements each.
constexpr int64_t gated_rmsnorm_scratch_row(int64_t n) { return round_up(n, 16); }
size_t gated_rmsnorm_workspace(const Context& ctx, const GatedRmsnormArgs& a);

}  // namespace sluice
