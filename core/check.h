// Argument checks for an operator's door: every failure names the operator, the tensor, what came and what was wanted.
//
//   return ArgCheck("l2norm").dtype("x", a.x, {DType::kF32, DType::kBF16}).shape("y", a.y, {T, D}).status();
//
// The first failure is kept; later calls do nothing. Nothing is allocated while all is well.
#pragma once

#include <initializer_list>
#include <string>

#include "base/status.h"
#include "core/tensor.h"

namespace sluice {

class ArgCheck {
 public:
  explicit ArgCheck(const char* op) : op_(op) {}

  ArgCheck& that(bool ok, const char* what) {
    if (failed() || ok) return *this;
    return fail(what);
  }
  ArgCheck& present(const char* name, const Tensor& t) {
    if (failed() || t.present()) return *this;
    return fail(std::string(name) + " is missing");
  }
  ArgCheck& dtype(const char* name, const Tensor& t, std::initializer_list<DType> allowed) {
    present(name, t);
    if (failed()) return *this;
    std::string wanted;
    for (DType d : allowed) {
      if (t.dtype == d) return *this;
      wanted += (wanted.empty() ? "" : " or ") + std::string(dtype_name(d));
    }
    return fail(std::string(name) + " is " + std::string(dtype_name(t.dtype)) + ", wanted " + wanted);
  }
  ArgCheck& shape(const char* name, const Tensor& t, std::initializer_list<int64_t> wanted) {
    present(name, t);
    if (failed()) return *this;
    bool same = t.rank == int(wanted.size());
    int i = 0;
    for (int64_t d : wanted) same = same && t.shape[i++] == d;
    if (same) return *this;
    std::string w = "[";
    for (int64_t d : wanted) w += (w.size() > 1 ? ", " : "") + std::to_string(d);
    return fail(std::string(name) + " has shape " + t.shape_string() + ", wanted " + w + "]");
  }
  ArgCheck& rank(const char* name, const Tensor& t, int low, int high) {
    present(name, t);
    if (failed() || (t.rank >= low && t.rank <= high)) return *this;
    return fail(std::string(name) + " has rank " + std::to_string(t.rank) + ", wanted " + std::to_string(low) +
                (low == high ? "" : " to " + std::to_string(high)));
  }
  ArgCheck& inner_contiguous(const char* name, const Tensor& t) {
    if (failed() || t.inner_contiguous()) return *this;
    return fail(std::string(name) + " must have stride 1 in its last dimension");
  }
  Status status() const { return status_; }

 private:
  bool failed() const { return !status_.ok(); }
  ArgCheck& fail(std::string what) {
    status_ = invalid(std::string(op_) + ": " + what);
    return *this;
  }
  const char* op_;
  Status status_;
};

}  // namespace sluice
