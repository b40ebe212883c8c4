// Problems for the tests of gqa_prefill and gqa_decode: sequences with a prefix in a paged cache whose pages come in random order,
// every element of it that is not a key or value of theirs NaN, and every table entry past a sequence's end -1.
#pragma once

#include <algorithm>
#include <numeric>

#include "ops/gqa_prefill/cases.h"
#include "ops/gqa_prefill/gqa_prefill.h"
#include "tests/support/op_testing.h"

namespace sluice::testing {

inline void write_random(Tensor row, Random& random) {
  for (int64_t d = 0; d < row.dim(0); ++d) visit_float(row, [&]<class X>(X*) { row.as<X>()[d] = X(float(random.normal())); });
}

class GqaProblem {
 public:
  GqaProblem(const GqaCase& c, DType in, DType cache, uint64_t seed)
      : case_(c), prefix_(c.prefix, c.prefix + c.sequences), rows_(c.rows, c.rows + c.sequences) {
    Random random(seed);
    const int64_t heads = c.kv_heads * c.group, total = std::accumulate(rows_.begin(), rows_.end(), int64_t(0));
    q_gate_ = std::make_unique<Storage>(random.normal(in, {total, heads, 2 * c.dim}, 1, heads * 2 * c.dim + 6));
    int64_t pages = 1, widest = 1;
    for (int b = 0; b < c.sequences; ++b) {
      const int64_t n = (prefix_[b] + rows_[b] + c.page - 1) / c.page;
      pages += n, widest = std::max(widest, n);
    }
    k_ = std::make_unique<Storage>(cache, std::vector<int64_t>{pages, c.page, c.kv_heads, c.dim});
    v_ = std::make_unique<Storage>(cache, std::vector<int64_t>{pages, c.page, c.kv_heads, c.dim});
    table_ = std::make_unique<Storage>(DType::kI32, std::vector<int64_t>{c.sequences, widest}, widest + 3);
    fill_cache(random, pages);
  }

  // Rows [begin[b], end[b]) of each sequence, as one call: its rows of q are copied next to each other.
  struct Call {
    GqaArgs args;
    std::vector<Storage> owned;
  };
  Call call(const std::vector<int64_t>& begin, const std::vector<int64_t>& end) const {
    std::vector<int64_t> cu{0}, lengths;
    for (size_t b = 0; b < begin.size(); ++b) cu.push_back(cu.back() + end[b] - begin[b]), lengths.push_back(prefix_[b] + end[b]);
    const Tensor all = q_gate_->tensor();
    Call r;
    r.owned.reserve(3);
    r.owned.emplace_back(all.dtype, std::vector<int64_t>{cu.back(), all.dim(1), all.dim(2)}, all.stride[0]);
    for (size_t b = 0; b < begin.size(); ++b)
      for (int64_t i = begin[b]; i < end[b]; ++i) copy_row(all, first_row(b) + i, r.owned[0], cu[b] + i - begin[b]);
    r.owned.push_back(ints(cu)), r.owned.push_back(ints(lengths));
    r.args = {.q = r.owned[0].tensor().slice(2, 0, case_.dim),
              .gate = r.owned[0].tensor().slice(2, case_.dim, 2 * case_.dim),
              .k_cache = *k_,
              .v_cache = *v_,
              .block_table = *table_,
              .seq_lens = r.owned[2],
              .cu_seqlens = r.owned[1],
              .scale = 1 / std::sqrt(float(case_.dim))};
    return r;
  }
  Call all() const { return call(std::vector<int64_t>(rows_.size(), 0), rows_); }

  const std::vector<int64_t>& rows() const { return rows_; }
  const std::vector<int64_t>& prefix() const { return prefix_; }
  int64_t first_row(size_t b) const { return std::accumulate(rows_.begin(), rows_.begin() + b, int64_t(0)); }
  int64_t total() const { return first_row(rows_.size()); }
  int64_t heads() const { return case_.kv_heads * case_.group; }
  int64_t dim() const { return case_.dim; }

 private:
  static void copy_row(const Tensor& from, int64_t i, const Tensor& to, int64_t j) {
    const Tensor a = from[i], b = to[j];
    std::memcpy(b.data, a.data, a.bytes());
  }
  void fill_cache(Random& random, int64_t pages) {
    std::vector<int32_t> free(pages);
    std::iota(free.begin(), free.end(), 0);
    for (int64_t i = pages - 1; i > 0; --i) std::swap(free[i], free[random.integer(0, i)]);
    for (int b = 0; b < case_.sequences; ++b)
      for (int64_t p = 0; p < prefix_[b] + rows_[b]; ++p) {
        int32_t& page = table_->tensor()[b].as<int32_t>()[p / case_.page];
        if (p % case_.page == 0) page = free.back(), free.pop_back();
        for (int64_t h = 0; h < case_.kv_heads; ++h)
          for (const Storage* s : {k_.get(), v_.get()}) write_random(s->tensor()[page][p % case_.page][h], random);
      }
  }

  GqaCase case_;
  std::vector<int64_t> prefix_, rows_;
  std::unique_ptr<Storage> q_gate_, k_, v_, table_;
};

// The outputs of one run, and how to make one.
struct GqaOutputs {
  Storage o, lse;
  GqaOutputs(DType dtype, int64_t rows, int64_t heads, int64_t dim)
      : o(dtype, {rows, heads, dim}, heads * dim + 4), lse(DType::kF32, {rows, heads}) {}
};

template <class Args>
Args with_outputs(const GqaArgs& args, const GqaOutputs& out) {
  Args a{args};
  a.o = out.o, a.lse = out.lse;
  return a;
}

}  // namespace sluice::testing
