// Problems for the tests of mla_prefill: random queries, keys and values in storages with gaps, of which k_nope and v share one, as
// the product with W_kvb leaves them.
#pragma once

#include <numeric>

#include "ops/mla_prefill/cases.h"
#include "ops/mla_prefill/forms.h"
#include "tests/support/op_testing.h"

namespace sluice::testing {

struct PrefillOutputs {
  Storage o, lse;
  PrefillOutputs(DType dtype, int64_t rows, int64_t heads, int64_t dim)
      : o(dtype, {rows, heads, dim}, heads * dim + 8), lse(DType::kF32, {rows, heads}, heads + 3) {}
};

inline Tolerance prefill_limit(DType dtype) { return dtype == DType::kF32 ? Tolerance{5e-6, 3e-5} : Tolerance{8e-3, 2e-2}; }

inline void expect_close_outputs(const PrefillOutputs& got, const PrefillOutputs& want, DType dtype, const std::string& what) {
  expect_close(got.o, want.o, prefill_limit(dtype), what);
  expect_close(got.lse, want.lse, dtype == DType::kF32 ? Tolerance{2e-6, 1e-5} : Tolerance{1e-4, 1e-3}, what + ": lse");
}

class MlaPrefillProblem {
 public:
  MlaPrefillProblem(const MlaPrefillCase& c, DType dtype, uint64_t seed) : case_(c) {
    Random random(seed);
    std::vector<int64_t> q{0}, k{0};
    for (int b = 0; b < c.sequences; ++b) q.push_back(q.back() + c.rows[b]), k.push_back(k.back() + c.keys[b]);
    q_ = std::make_unique<Storage>(random.normal(dtype, {q.back(), c.heads, c.nope + c.rope}, 1, c.heads * (c.nope + c.rope) + 8));
    kv_ = std::make_unique<Storage>(random.normal(dtype, {k.back(), c.heads, c.nope + c.value}));
    if (c.rope > 0) pe_ = std::make_unique<Storage>(random.normal(dtype, {k.back(), c.rope}, 1, c.rope + 8));
    cu_q_ = std::make_unique<Storage>(ints(q)), cu_k_ = std::make_unique<Storage>(ints(k));
    args_ = {.q = *q_,
             .k_nope = kv_->tensor().slice(2, 0, c.nope),
             .k_pe = pe_ ? pe_->tensor() : Tensor(),
             .v = kv_->tensor().slice(2, c.nope, c.nope + c.value),
             .cu_seqlens_q = *cu_q_,
             .cu_seqlens_k = *cu_k_,
             .scale = float(1 / std::sqrt(double(c.nope + c.rope)))};
  }
  const MlaPrefillArgs& args() const { return args_; }
  PrefillOutputs outputs(DType dtype) const { return {dtype, args_.q.dim(0), case_.heads, case_.value}; }
  PrefillOutputs outputs(DType dtype, int64_t rows) const { return {dtype, rows, case_.heads, case_.value}; }

 private:
  MlaPrefillCase case_;
  std::unique_ptr<Storage> q_, kv_, pe_, cu_q_, cu_k_;
  MlaPrefillArgs args_;
};

inline MlaPrefillArgs with_outputs(MlaPrefillArgs a, const PrefillOutputs& out) {
  a.o = out.o, a.lse = out.lse;
  return a;
}

}  // namespace sluice::testing
