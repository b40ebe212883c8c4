#include <algorithm>
#include <cmath>

#include "ops/mla_decode/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::string name_of(const MlaDecodeCase& c, DType cache) {
  return std::to_string(c.heads) + " heads, " + std::to_string(c.latent) + "+" + std::to_string(c.rope) + ", pages of " +
         std::to_string(c.page) + ", " + std::string(dtype_name(cache));
}
int64_t longest(const MlaDecodeCase& c) { return *std::max_element(c.lengths, c.lengths + c.sequences); }

bool serves(const MlaDecodeCase& c, DType cache) { return cache != DType::kF8E4M3 || c.latent % kMlaScaleGroup == 0; }

// Every implementation that runs here against the reference, on outputs of its own.
void expect_as_reference(const MlaDecodeProblem& p, const MlaDecodeArgs& args, DType out, const std::string& what) {
  const MlaOutputs want = p.outputs(out);
  const Status ok = check_mla_decode(with_outputs(args, want));
  ASSERT_TRUE(ok.ok()) << what << ": " << ok.message();
  run_ok(impl_named(mla_decode_impls(), "reference"), with_outputs(args, want));
  for (const auto* impl : runnable(mla_decode_impls(), with_outputs(args, want))) {
    const MlaOutputs got = p.outputs(out);
    run_ok(*impl, with_outputs(args, got));
    const DType limits = out == DType::kBF16 ? DType::kBF16 : args.kv.dtype;
    expect_close_outputs(got, want, limits, std::string(impl->name) + " " + what);
  }
}

TEST(MlaDecode, DenseMatchesReference) {
  uint64_t seed = 1;
  for (const MlaDecodeCase& c : kMlaDecodeCases)
    for (const auto& [q, cache, out] : {std::tuple{DType::kF32, DType::kF32, DType::kF32},
                                        {DType::kBF16, DType::kBF16, DType::kBF16},
                                        {DType::kF32, DType::kBF16, DType::kF32},
                                        {DType::kBF16, DType::kF8E4M3, DType::kF32}})
      if (serves(c, cache)) {
        const MlaDecodeProblem p(c, q, cache, ++seed);
        expect_as_reference(p, p.args(), out, name_of(c, cache));
      }
}

// Some of the keys of a row in random order, with gaps; a row may have none.
TEST(MlaDecode, SparseMatchesReference) {
  Random random(3);
  for (const MlaDecodeCase& c : kMlaDecodeCases)
    for (const DType cache : {DType::kF32, DType::kBF16, DType::kF8E4M3})
      if (serves(c, cache)) {
        const MlaDecodeProblem p(c, cache == DType::kF32 ? DType::kF32 : DType::kBF16, cache, 4);
        const SparseCall call(p, longest(c) + 1, [&](int64_t, std::vector<int64_t>& slots) {
          for (size_t i = slots.size(); i > 1; --i) std::swap(slots[i - 1], slots[size_t(random.integer(0, int64_t(i) - 1))]);
          const int64_t every = random.integer(1, 3);
          for (size_t j = 0; j < slots.size(); ++j)
            if (j % size_t(every) != 0) slots[j] = -1 - int64_t(j);
        });
        expect_as_reference(p, call.args, DType::kF32, "sparse, " + name_of(c, cache));
      }
}

TEST(MlaDecode, SparseWithAllKeysIsDense) {
  for (const MlaDecodeCase& c : kMlaDecodeCases) {
    const MlaDecodeProblem p(c, DType::kBF16, DType::kBF16, 5);
    const SparseCall call(p, longest(c), [](int64_t, std::vector<int64_t>&) {});
    for (const auto* impl : runnable(mla_decode_impls(), p.args())) {
      const MlaOutputs dense = p.outputs(DType::kF32), sparse = p.outputs(DType::kF32);
      run_ok(*impl, with_outputs(p.args(), dense));
      run_ok(*impl, with_outputs(call.args, sparse));
      const std::string what = std::string(impl->name) + " " + name_of(c, DType::kBF16);
      if (is_gpu(impl->isa)) {  // may split the two differently
        expect_close_outputs(sparse, dense, DType::kBF16, what);
        continue;
      }
      expect_same_bits(sparse.o, dense.o, what);
      expect_same_bits(sparse.lse, dense.lse, what);
    }
  }
}

// A row alone, in its batch, and on one thread.
TEST(MlaDecode, SameBitsAloneAndInABatch) {
  for (const MlaDecodeCase& c : kMlaDecodeCases) {
    const MlaDecodeProblem p(c, DType::kBF16, DType::kBF16, 6);
    const SparseCall call(p, longest(c), [](int64_t, std::vector<int64_t>&) {});
    for (const auto* impl : runnable(mla_decode_impls(), p.args())) {
      const MlaOutputs all = p.outputs(DType::kF32), again = p.outputs(DType::kF32);
      const std::string what = std::string(impl->name) + " " + name_of(c, DType::kBF16);
      run_ok(*impl, with_outputs(call.args, all));
      run_ok(*impl, with_outputs(call.args, again), 1);
      expect_same_bits(again.o, all.o, what);
      if (is_gpu(impl->isa)) continue;
      for (int64_t t = 0; t < p.total(); ++t) {
        const MlaOutputs one = p.outputs(DType::kF32, 1);
        MlaDecodeArgs a = with_outputs(call.args, one);
        for (Tensor* x : {&a.q_nope, &a.q_pe, &a.indices}) *x = x->slice(0, t, t + 1);
        run_ok(*impl, a, t % 2 ? 1 : 2);
        const size_t row = size_t(c.heads * c.latent);
        const std::vector<double> want = all.o.values();
        EXPECT_EQ(one.o.values(), std::vector<double>(want.begin() + t * row, want.begin() + (t + 1) * row)) << what;
      }
    }
  }
}

// Rows of a sequence that come together: without cu_seqlens, T / B each.
TEST(MlaDecode, EqualRowsNeedNoCuSeqlens) {
  const MlaDecodeCase c{16, 512, 64, 16, 3, {4, 4, 4}, {100, 4, 2}};
  const MlaDecodeProblem p(c, DType::kBF16, DType::kBF16, 7);
  MlaDecodeArgs args = p.args();
  args.cu_seqlens = Tensor();
  expect_as_reference(p, args, DType::kF32, "four rows each");
  for (const auto* impl : runnable(mla_decode_impls(), p.args())) {
    const MlaOutputs with = p.outputs(DType::kF32), without = p.outputs(DType::kF32);
    run_ok(*impl, with_outputs(p.args(), with));
    run_ok(*impl, with_outputs(args, without));
    expect_close_outputs(without, with, DType::kBF16, impl->name);
  }
}

// So many rows that a GPU cuts no list: each block of threads takes all its blocks of keys in turn, an odd or even number, some
// with gaps, where lists of slots are too short for others.
TEST(MlaDecode, ManyRowsTakeTheirListsWhole) {
  const MlaDecodeCase c{33, 512, 64, 64, 2, {35, 35}, {340, 170}};
  Random random(12);
  for (const DType cache : {DType::kBF16, DType::kF8E4M3}) {
    const MlaDecodeProblem p(c, DType::kBF16, cache, 13);
    const SparseCall call(p, 341, [&](int64_t t, std::vector<int64_t>& slots) {
      for (size_t i = slots.size(); i > 1; --i) std::swap(slots[i - 1], slots[size_t(random.integer(0, int64_t(i) - 1))]);
      for (size_t j = 0; j < slots.size(); ++j)
        if (t % 3 == 0 && j % 5 == 2) slots[j] = -1;
      if (t % 7 == 0) slots.resize(std::min(slots.size(), size_t(3 * t)));
    });
    MlaDecodeArgs alike = p.args();
    alike.cu_seqlens = Tensor();
    expect_as_reference(p, alike, DType::kF32, "dense, " + name_of(c, cache));
    expect_as_reference(p, call.args, DType::kBF16, "sparse, " + name_of(c, cache));
  }
}

// Any split of a row's keys, merged by merge_state in either base, is one pass.
TEST(MlaDecode, SplitKeysMergeToOnePass) {
  const MlaDecodeCase c{16, 512, 64, 16, 2, {1, 2}, {300, 90}};
  const MlaDecodeProblem p(c, DType::kF32, DType::kF32, 8);
  for (const LseBase base : {LseBase::kE, LseBase::kTwo})
    for (const int64_t at : {0, 1, 64, 100, 300}) {
      const SparseCall low(p, 300, [&](int64_t, std::vector<int64_t>&s) { s.resize(std::min(s.size(), size_t(at))); }),
          high(p, 300,
               [&](int64_t, std::vector<int64_t>&s) { s.erase(s.begin(), s.begin() + std::min<int64_t>(at, int64_t(s.size()))); });
      for (const auto* impl : runnable(mla_decode_impls(), p.args())) {
        const MlaOutputs whole = p.outputs(DType::kF32), a = p.outputs(DType::kF32), b = p.outputs(DType::kF32);
        const auto run = [&](MlaDecodeArgs args, const MlaOutputs& out) {
          args.base = base;
          run_ok(*impl, with_outputs(args, out));
        };
        run(p.args(), whole), run(low.args, a), run(high.args, b);
        const MergeStateArgs merge{.a = {a.o, a.lse, base}, .b = {b.o, b.lse, base}, .out = {a.o, a.lse, base}};
        run_ok(impl_named(merge_state_impls(), "reference"), merge);
        expect_close_outputs(a, whole, DType::kF32, std::string(impl->name) + " at " + std::to_string(at));
      }
    }
}

// Two keys of weights 1/4 and 3/4, by hand, in either base.
TEST(MlaDecode, FormulaByHand) {
  Storage q(DType::kF32, {1, 1, 2}), pe(DType::kF32, {1, 1, 1}), kv(DType::kF32, {1, 2, 3}), o(DType::kF32, {1, 1, 2});
  const Storage indices(DType::kI32, {1, 2}), lse(DType::kF32, {1, 1});
  const auto fill = [](Storage& s, std::vector<double> v) { s.fill([v, i = size_t(0)]() mutable { return v[i++]; }); };
  indices.tensor().as<int32_t>()[0] = 1, indices.tensor().as<int32_t>()[1] = 0;
  fill(q, {1, 0}), fill(pe, {2}), fill(kv, {0, 8, 0, 0, -4, std::log(3.0) / 2 * 2});
  for (const LseBase base : {LseBase::kE, LseBase::kTwo}) {
    const MlaDecodeArgs a{.q_nope = q, .q_pe = pe, .kv = kv, .indices = indices, .o = o, .lse = lse, .base = base, .scale = 0.5f};
    for (const auto* impl : runnable(mla_decode_impls(), a)) {
      run_ok(*impl, a);
      EXPECT_NEAR(o.values()[0], 0, 1e-6) << impl->name;
      EXPECT_NEAR(o.values()[1], -1, 1e-5) << impl->name;
      EXPECT_NEAR(lse.values()[0], base == LseBase::kE ? std::log(4.0) : 2, 1e-6) << impl->name;
    }
  }
}

TEST(MlaDecode, NothingToSeeAndNothingToDo) {
  const MlaDecodeCase c{17, 512, 64, 16, 2, {2, 1}, {0, 30}};
  const MlaDecodeProblem p(c, DType::kBF16, DType::kBF16, 9);
  const SparseCall none(p, 70, [](int64_t, std::vector<int64_t>& slots) { slots.clear(); });
  const SparseCall no_list(p, 0, [](int64_t, std::vector<int64_t>& slots) { slots.clear(); });
  for (const auto* impl : runnable(mla_decode_impls(), p.args())) {
    for (const MlaDecodeArgs& args : {p.args(), none.args, no_list.args}) {
      const MlaOutputs got = p.outputs(DType::kF32);
      run_ok(*impl, with_outputs(args, got));
      const std::vector<double> o = got.o.values(), lse = got.lse.values();
      const size_t padding = 2 * 17;
      EXPECT_EQ(std::vector<double>(o.begin(), o.begin() + padding * 512), std::vector<double>(padding * 512, 0.0)) << impl->name;
      EXPECT_EQ(std::vector<double>(lse.begin(), lse.begin() + padding), std::vector<double>(padding, -INFINITY)) << impl->name;
    }
    MlaDecodeArgs empty = with_outputs(none.args, p.outputs(DType::kF32, 0));
    for (Tensor* x : {&empty.q_nope, &empty.q_pe, &empty.indices}) *x = x->slice(0, 0, 0);
    run_ok(*impl, empty);
  }
}

// A NaN in a key that a row sees is not hidden; one in a later row's key does not reach it.
TEST(MlaDecode, NaNOfAKey) {
  const MlaDecodeCase c{16, 512, 64, 16, 1, {2}, {40}};
  const MlaDecodeProblem p(c, DType::kBF16, DType::kBF16, 10);
  const int64_t last = p.slots(1).back();
  p.args().kv[last / 16][last % 16].as<Bf16>()[3] = Bf16(NAN);
  for (const auto* impl : runnable(mla_decode_impls(), p.args())) {
    const MlaOutputs got = p.outputs(DType::kF32);
    run_ok(*impl, with_outputs(p.args(), got));
    const std::vector<double> o = got.o.values(), lse = got.lse.values();
    EXPECT_TRUE(std::all_of(o.begin(), o.begin() + 16 * 512, [](double x) { return std::isfinite(x); })) << impl->name;
    EXPECT_TRUE(std::isnan(o[16 * 512 + 5]) && std::isnan(lse[16])) << impl->name;
  }
}

TEST(MlaDecode, RefusesBadArguments) {
  const MlaDecodeCase c{2, 128, 8, 16, 2, {1, 2}, {20, 30}};
  const MlaDecodeProblem p(c, DType::kF32, DType::kF32, 11);
  const MlaOutputs out = p.outputs(DType::kF32);
  const Storage flat(DType::kF32, {3, 2}), ids(DType::kI32, {3, 2, 128}), odd_fp8(DType::kF8E4M3, {4, 16, 148}, 0, 1),
      narrow(DType::kF32, {4, 16, 135}), two = ints({1, 2}), descending = ints({0, 4, 3}), far = ints({20, 3000});
  Storage indices(DType::kI32, {3, 4});
  indices.fill([] { return 16 * 16; });
  const auto message = [&](auto&& change) {
    MlaDecodeArgs a = with_outputs(p.args(), out);
    change(a);
    return check_mla_decode(a).message();
  };
  EXPECT_EQ(message([](auto& a) { a = {}; }), "mla_decode: q_nope is missing");
  EXPECT_EQ(message([&](auto& a) { a.q_nope = ids; }), "mla_decode: q_nope is I32, wanted F32 or BF16");
  EXPECT_EQ(message([](auto& a) { a.q_pe = a.q_pe.slice(0, 0, 2); }), "mla_decode: q_pe has shape [2, 2, 8], wanted [3, 2, 8]");
  EXPECT_EQ(message([&](auto& a) { a.kv = flat; }), "mla_decode: kv has rank 2, wanted 3");
  EXPECT_EQ(message([&](auto& a) { a.kv = narrow; }), "mla_decode: kv has shape [4, 16, 135], wanted [4, 16, 136]");
  EXPECT_EQ(message([&](auto& a) { a.kv = odd_fp8; }),
            "mla_decode: an fp8 kv must have rows at multiples of 4 bytes, for its scales");
  EXPECT_EQ(message([](auto& a) { a.seq_lens = {}; }), "mla_decode: seq_lens is missing");
  EXPECT_EQ(message([&](auto& a) { a.seq_lens = two, a.cu_seqlens = {}; }),
            "mla_decode: q_nope's rows are no multiple of the sequences in seq_lens, and there is no cu_seqlens");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = two; }), "mla_decode: cu_seqlens has shape [2], wanted [3]");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = descending; }), "mla_decode: cu_seqlens must not descend");
  EXPECT_EQ(message([&](auto& a) { a.seq_lens = far; }), "mla_decode: seq_lens is longer than the pages in block_table");
  EXPECT_EQ(message([&](auto& a) { a.indices = indices; }), "mla_decode: indices names a slot outside the cache");
  EXPECT_EQ(message([&](auto& a) { a.indices = two; }), "mla_decode: indices has rank 1, wanted 2");
  EXPECT_EQ(message([](auto& a) { a.o = a.o.slice(2, 0, 100); }), "mla_decode: o has shape [3, 2, 100], wanted [3, 2, 128]");
  EXPECT_EQ(message([&](auto& a) { a.lse = out.o; }), "mla_decode: lse has shape [3, 2, 128], wanted [3, 2]");
  EXPECT_EQ(message([](auto& a) { a.scale = 0; }),
            "mla_decode: scale must be above 0; it is usually (nope + rope)^-0.5 of the form before absorption");
  p.args().block_table.as<int32_t>()[0] = -1;
  EXPECT_EQ(message([](auto&) {}), "mla_decode: block_table names a page outside the cache");
}

}  // namespace
}  // namespace sluice
