// Rows of a [R, D] or [T, H, D] view with any outer strides: what row-wise operators loop over.
#pragma once

#include "core/tensor.h"

namespace sluice {

class Rows {
 public:
  explicit Rows(const Tensor& t) : t_(t), inner_(t.rank == 3 ? t.shape[1] : 1), inner_stride_(t.rank == 3 ? t.stride[1] : 0) {}
  int64_t count() const { return t_.shape[0] * inner_; }
  int64_t length() const { return t_.shape[t_.rank - 1]; }

  template <class T>
  T* row(int64_t r) const {
    return t_.as<T>() + (r / inner_) * t_.stride[0] + (r % inner_) * inner_stride_;
  }

 private:
  Tensor t_;
  int64_t inner_, inner_stride_;
};

// Calls f with a null pointer of the tensor's element type, float or Bf16: visit_float(t, [&]<class T>(T*) { ... }).
template <class F>
decltype(auto) visit_float(const Tensor& t, F&& f) {
  return t.dtype == DType::kBF16 ? f(static_cast<Bf16*>(nullptr)) : f(static_cast<float*>(nullptr));
}

}  // namespace sluice
