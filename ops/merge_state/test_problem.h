// Partial attention results for the tests: storages of any of the value types, and a call with its own outputs.
#pragma once

#include <functional>

#include "ops/merge_state/merge_state.h"
#include "ops/merge_state/states.h"
#include "tests/support/op_testing.h"

namespace sluice::testing {

inline constexpr DType kValueTypes[] = {DType::kF32, DType::kF16, DType::kBF16};  // of outputs
inline constexpr DType kPartialTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};
inline constexpr LseBase kBases[] = {LseBase::kE, LseBase::kTwo};

// Calls f(element) over a [R, H, D] tensor of values, in order.
template <class F>
void each_value(const Tensor& t, F&& f) {
  visit_partial(t, [&]<class T>(T*) {
    for (int64_t r = 0; r < t.dim(0); ++r)
      for (int64_t h = 0; h < t.dim(1); ++h)
        for (int64_t d = 0; d < t.dim(2); ++d) f(t.as<T>()[r * t.stride[0] + h * t.stride[1] + d]);
  });
}

inline std::vector<double> values_of(const Tensor& t) {
  std::vector<double> values;
  each_value(t, [&](auto x) { values.push_back(float(x)); });
  return values;
}

inline Tolerance limit_of(DType out) {
  if (out == DType::kF32) return {2e-6, 2e-5};
  return out == DType::kF16 ? Tolerance{5e-4, 1e-3} : Tolerance{4e-3, 8e-3};
}

// Memory of an AttentionState.
struct State {
  Storage v, lse;
  LseBase base;
  float scale = 1;

  State(DType dtype, std::vector<int64_t> shape, LseBase base = LseBase::kE, int64_t row_stride = 0, int64_t offset = 0)
      : v(dtype, shape, row_stride, offset), lse(DType::kF32, {shape[0], shape[1]}, row_stride ? shape[1] + 3 : 0), base(base) {}
  State(State&&) = default;                                          // a copy's tensors would be the original's
  operator AttentionState() const { return {v, lse, base, scale}; }  // NOLINT: a state is passed wherever its tensors are

  void fill_values(const std::function<double()>& next) {
    each_value(v, [&]<class T>(T& x) { x = T(float(next())); });
  }
  double natural_lse(size_t i) const { return lse.values()[i] * natural_log_of(base); }
  bool margins_intact() const { return v.margins_intact() && lse.margins_intact(); }
};

// Random values and log-sum-exps; one in ten is empty, as -inf or +inf, with values of NaN.
inline State random_state(Random& random, DType dtype, std::vector<int64_t> shape, LseBase base = LseBase::kE,
                          int64_t row_stride = 0, int64_t offset = 0) {
  State s(dtype, std::move(shape), base, row_stride, offset);
  std::vector<bool> empty;
  s.lse.fill([&] {
    const int64_t kind = random.integer(0, 19);
    empty.push_back(kind < 2);
    return kind == 0 ? INFINITY : kind == 1 ? -INFINITY : random.normal(1, 3) / natural_log_of(base);
  });
  size_t i = 0;
  const size_t dim = size_t(s.v.tensor().dim(2));
  s.fill_values([&] { return empty[i++ / dim] ? NAN : random.normal(); });
  return s;
}

inline void expect_close_states(const State& got, const State& want, const std::string& what) {
  const Tolerance limit = limit_of(want.v.tensor().dtype), exact = limit_of(DType::kF32);
  const Error v = error(values_of(got.v), values_of(want.v)), lse = error(got.lse.values(), want.lse.values());
  EXPECT_LE(v.rel_rms, limit.rel_rms) << what;
  EXPECT_LE(v.max_rel, limit.max_rel) << what;
  EXPECT_LE(lse.rel_rms, exact.rel_rms) << what << ": lse";
  EXPECT_LE(lse.max_rel, exact.max_rel) << what << ": lse";
  EXPECT_TRUE(got.margins_intact()) << what << ": wrote outside its output";
}

inline void expect_same_state(const State& a, const State& b, const std::string& what) {
  EXPECT_EQ(values_of(a.v), values_of(b.v)) << what;
  EXPECT_EQ(a.lse.values(), b.lse.values()) << what << ": lse";
}

// Every implementation that runs here against the reference, each on an output of its own, made by fresh().
template <class Fresh>
void expect_as_reference(MergeStateArgs args, Fresh&& fresh, const std::string& what) {
  const State want = fresh();
  args.out = want;
  ASSERT_TRUE(check_merge_state(args).ok()) << check_merge_state(args).message();
  run_ok(impl_named(merge_state_impls(), "reference"), args);
  for (const auto* impl : runnable(merge_state_impls(), args)) {
    const State got = fresh();
    args.out = got;
    run_ok(*impl, args);
    expect_close_states(got, want, std::string(impl->name) + " " + what);
  }
}

}  // namespace sluice::testing
