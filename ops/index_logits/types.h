#pragma once

#include "core/dtype.h"

namespace sluice {

// Calls f with a null pointer of q's element type: visit_index_type(t, [&]<class X>(X*) { ... }).
template <class F>
decltype(auto) visit_index_type(DType type, F&& f) {
  if (type == DType::kF8E4M3) return f(static_cast<F8E4M3*>(nullptr));
  if (type == DType::kBF16) return f(static_cast<Bf16*>(nullptr));
  return f(static_cast<float*>(nullptr));
}

}  // namespace sluice
