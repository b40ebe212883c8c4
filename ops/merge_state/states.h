// Where the states of an output token lie, and the bases of their log-sum-exps: what all forms share.
#pragma once

#include <limits>

#include "core/simd_plain.h"
#include "ops/merge_state/merge_state.h"

namespace sluice {

inline constexpr double kLn2 = 0.693147180559945309417;
inline constexpr double kNoKeys = -std::numeric_limits<double>::infinity();  // the log-sum-exp of an empty state

// By this a log-sum-exp of the base becomes a natural logarithm.
constexpr double natural_log_of(LseBase base) { return base == LseBase::kTwo ? kLn2 : 1.0; }

// Calls f with a null pointer of the element type: visit_value(t, [&]<class T>(T*) { ... }).
template <class F>
decltype(auto) visit_value(const Tensor& t, F&& f) {
  if (t.dtype == DType::kBF16) return f(static_cast<Bf16*>(nullptr));
  if (t.dtype == DType::kF16) return f(static_cast<F16*>(nullptr));
  return f(static_cast<float*>(nullptr));
}

// The same for an input, which may be fp8.
template <class F>
decltype(auto) visit_partial(const Tensor& t, F&& f) {
  return t.dtype == DType::kF8E4M3 ? f(static_cast<F8E4M3*>(nullptr)) : visit_value(t, f);
}

// Of output token `token` and one head, on the CPU; state i in the order of the contract.
class TokenStates {
 public:
  SLUICE_INLINE TokenStates(const MergeStateArgs& args, int64_t token, int64_t head) : args_(args), token_(token), head_(head) {
    const int32_t* indptr = args.indptr.present() ? args.indptr.as<int32_t>() + token : nullptr;
    first_ = indptr ? indptr[0] : token;
    of_a_ = indptr ? indptr[1] - indptr[0] : 1;
  }
  SLUICE_INLINE int64_t count() const { return of_a_ + (args_.b.v.present() ? 1 : 0); }

  // Natural logarithm; -inf for an empty state.
  SLUICE_INLINE double lse(int64_t i) const {
    const AttentionState& s = source(i);
    const float lse = s.lse.as<float>()[row(i) * s.lse.stride[0] + head_ * s.lse.stride[1]];
    return lse == -kNoKeys ? kNoKeys : lse * natural_log_of(s.base);
  }
  SLUICE_INLINE float scale(int64_t i) const { return source(i).scale; }
  template <class X>
  SLUICE_INLINE const X* v(int64_t i) const {
    const Tensor& v = source(i).v;
    return v.as<X>() + row(i) * v.stride[0] + head_ * v.stride[1];
  }
  template <class Y>
  SLUICE_INLINE Y* out() const {
    return args_.out.v.as<Y>() + token_ * args_.out.v.stride[0] + head_ * args_.out.v.stride[1];
  }
  SLUICE_INLINE double out_scale() const { return args_.out.scale; }
  SLUICE_INLINE void put_lse(double natural) const {
    const Tensor& lse = args_.out.lse;
    if (lse.present())
      lse.as<float>()[token_ * lse.stride[0] + head_ * lse.stride[1]] = float(natural / natural_log_of(args_.out.base));
  }

 private:
  SLUICE_INLINE const AttentionState& source(int64_t i) const { return i < of_a_ ? args_.a : args_.b; }
  SLUICE_INLINE int64_t row(int64_t i) const { return i < of_a_ ? first_ + i : token_; }

  const MergeStateArgs& args_;
  int64_t token_, head_, first_, of_a_;
};

}  // namespace sluice
