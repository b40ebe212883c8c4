// Problems for the tests of mla_decode: sequences in a paged cache whose pages come in random order, every element of it that is
// no key of theirs NaN, and every table entry past a sequence's end -1.
#pragma once

#include <numeric>

#include "ops/mla_decode/cases.h"
#include "ops/mla_decode/keys.h"
#include "ops/mla_decode/mla_decode.h"
#include "tests/support/op_testing.h"

namespace sluice::testing {

inline Tolerance mla_limit(DType cache) { return cache == DType::kF32 ? Tolerance{5e-6, 3e-5} : Tolerance{8e-3, 2e-2}; }

// The outputs of one run.
struct MlaOutputs {
  Storage o, lse;
  MlaOutputs(DType dtype, int64_t rows, int64_t heads, int64_t dim)
      : o(dtype, {rows, heads, dim}, heads * dim + 8), lse(DType::kF32, {rows, heads}, heads + 3) {}
};

inline void expect_close_outputs(const MlaOutputs& got, const MlaOutputs& want, DType cache, const std::string& what) {
  expect_close(got.o, want.o, mla_limit(cache), what);
  expect_close(got.lse, want.lse, cache == DType::kF32 ? Tolerance{2e-6, 1e-5} : Tolerance{1e-4, 1e-3}, what + ": lse");
}

// A random key row; of fp8, its codes, scales that are powers of two, and rope.
inline void write_key(const MlaDecodeArgs& a, int64_t page, int64_t place, Random& random) {
  const int64_t R = a.q_nope.dim(2), P = a.q_pe.dim(2), size = int64_t(dtype_size(a.kv.dtype));
  auto* row = static_cast<std::byte*>(a.kv.data) + (page * a.kv.stride[0] + place * a.kv.stride[1]) * size;
  const auto put = [&]<class X>(X x, int64_t at) { std::memcpy(row + at, &x, sizeof x); };
  for (int64_t d = 0; d < R + P; ++d) {
    const float x = float(random.normal());
    if (size == 4) put(x, 4 * d);
    else if (size == 2) put(Bf16(x), 2 * d);
    else if (d < R) put(F8E4M3(100 * x), d);
    else put(Bf16(x), R + R / kMlaScaleGroup * 4 + 2 * (d - R));
  }
  if (size == 1)
    for (int64_t g = 0; g < R / kMlaScaleGroup; ++g) put(std::ldexp(1.0f, -int(random.integer(5, 8))), R + 4 * g);
}

class MlaDecodeProblem {
 public:
  MlaDecodeProblem(const MlaDecodeCase& c, DType q, DType cache, uint64_t seed) : case_(c) {
    Random random(seed);
    const int64_t total = std::accumulate(c.rows, c.rows + c.sequences, int64_t(0));
    q_ = std::make_unique<Storage>(random.normal(q, {total, c.heads, c.latent + c.rope}, 1, c.heads * (c.latent + c.rope) + 8));
    std::vector<int64_t> cu{0}, lengths;
    int64_t pages = 1, widest = 1;
    for (int b = 0; b < c.sequences; ++b) {
      cu.push_back(cu.back() + c.rows[b]), lengths.push_back(c.lengths[b]);
      const int64_t n = (c.lengths[b] + c.page - 1) / c.page;
      pages += n, widest = std::max(widest, n);
    }
    const bool fp8 = cache == DType::kF8E4M3;
    const int64_t width = fp8 ? mla_fp8_row_bytes(c.latent, c.rope) : c.latent + c.rope;
    kv_ = std::make_unique<Storage>(cache, std::vector<int64_t>{pages, c.page, width}, c.page * width + (fp8 ? 16 : 8));
    table_ = std::make_unique<Storage>(DType::kI32, std::vector<int64_t>{c.sequences, widest}, widest + 3);
    cu_ = std::make_unique<Storage>(ints(cu)), lengths_ = std::make_unique<Storage>(ints(lengths));
    args_ = {.q_nope = q_->tensor().slice(2, 0, c.latent),
             .q_pe = q_->tensor().slice(2, c.latent, c.latent + c.rope),
             .kv = *kv_,
             .block_table = *table_,
             .seq_lens = *lengths_,
             .cu_seqlens = *cu_,
             .scale = float(1 / std::sqrt(double(c.latent + c.rope)))};
    fill_cache(random, pages);
  }

  const MlaDecodeArgs& args() const { return args_; }
  int64_t total() const { return args_.q_nope.dim(0); }
  MlaOutputs outputs(DType dtype) const { return {dtype, total(), case_.heads, case_.latent}; }
  MlaOutputs outputs(DType dtype, int64_t rows) const { return {dtype, rows, case_.heads, case_.latent}; }

  // The slots of the keys that row t sees, in order of position.
  std::vector<int64_t> slots(int64_t t) const {
    const MlaKeyList list(args_, t);
    std::vector<int64_t> slots;
    for (int64_t j = 0; j < list.count(); ++j) slots.push_back(list.entries()[j / case_.page] * case_.page + j % case_.page);
    return slots;
  }

 private:
  void fill_cache(Random& random, int64_t pages) {
    std::vector<int32_t> free(static_cast<size_t>(pages));
    std::iota(free.begin(), free.end(), 0);
    for (int64_t i = pages - 1; i > 0; --i) std::swap(free[size_t(i)], free[size_t(random.integer(0, i))]);
    for (int b = 0; b < case_.sequences; ++b)
      for (int64_t p = 0; p < case_.lengths[b]; ++p) {
        int32_t& page = table_->tensor()[b].as<int32_t>()[p / case_.page];
        if (p % case_.page == 0) page = free.back(), free.pop_back();
        write_key(args_, page, p % case_.page, random);
      }
  }

  MlaDecodeCase case_;
  std::unique_ptr<Storage> q_, kv_, table_, cu_, lengths_;
  MlaDecodeArgs args_;
};

inline MlaDecodeArgs with_outputs(MlaDecodeArgs a, const MlaOutputs& out) {
  a.o = out.o, a.lse = out.lse;
  return a;
}

// The same call with each row's keys as a list of slots, which `order` may rearrange; rows of `width` entries, -1 behind.
struct SparseCall {
  Storage indices;
  MlaDecodeArgs args;
  template <class Order>
  SparseCall(const MlaDecodeProblem& p, int64_t width, Order&& order)
      : indices(DType::kI32, {p.total(), width}, width + 1), args(p.args()) {
    for (int64_t t = 0; t < p.total(); ++t) {
      std::vector<int64_t> slots = p.slots(t);
      order(t, slots);
      for (size_t j = 0; j < slots.size(); ++j) indices.tensor().as<int32_t>()[t * (width + 1) + int64_t(j)] = int32_t(slots[j]);
    }
    args.indices = indices;
    args.block_table = args.seq_lens = args.cu_seqlens = Tensor();
  }
};

}  // namespace sluice::testing
