// The implementations, one a file.
#pragma once

#include "ops/group_quant/group_quant.h"

namespace sluice {

Status group_quant_reference(Context&, const GroupQuantArgs&, std::byte*);
Status group_quant_cpu(Context&, const GroupQuantArgs&, std::byte*);
Status group_quant_avx2(Context&, const GroupQuantArgs&, std::byte*);
Status group_quant_avx512(Context&, const GroupQuantArgs&, std::byte*);
Status group_quant_cuda(Context&, const GroupQuantArgs&, std::byte*);

// Calls f with a null pointer of x's element type.
template <class F>
decltype(auto) visit_group_quant_input(const Tensor& x, F&& f) {
  if (x.dtype == DType::kBF16) return f(static_cast<Bf16*>(nullptr));
  if (x.dtype == DType::kF16) return f(static_cast<F16*>(nullptr));
  return f(static_cast<float*>(nullptr));
}

}  // namespace sluice
