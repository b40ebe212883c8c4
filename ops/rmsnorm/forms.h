// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "ops/rmsnorm/rmsnorm.h"

namespace sluice {

Status rmsnorm_reference(Context&, const RmsnormArgs&, std::byte*);
Status rmsnorm_cpu(Context&, const RmsnormArgs&, std::byte*);
Status rmsnorm_avx2(Context&, const RmsnormArgs&, std::byte*);
Status rmsnorm_avx512(Context&, const RmsnormArgs&, std::byte*);
Status rmsnorm_cuda(Context&, const RmsnormArgs&, std::byte*);

// Whose dtype a quantised output's elements are rounded to first.
inline const Tensor& rounding_of_quantised(const RmsnormArgs& a) { return a.y.present() ? a.y : a.x; }

// The vector forms' scratch: one fp32 row a thread, this many elements each.
constexpr int64_t rmsnorm_scratch_row(int64_t n) { return round_up(n, 16); }
size_t rmsnorm_workspace(const Context& ctx, const RmsnormArgs& a);

}  // namespace sluice
