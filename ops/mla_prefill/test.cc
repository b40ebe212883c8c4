#include <algorithm>
#include <cmath>

#include "ops/mla_decode/mla_decode.h"
#include "ops/mla_prefill/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::string name_of(const MlaPrefillCase& c, DType dtype) {
  return std::to_string(c.heads) + " heads, " + std::to_string(c.nope) + "+" + std::to_string(c.rope) + "/" +
         std::to_string(c.value) + " " + std::string(dtype_name(dtype));
}

TEST(MlaPrefill, MatchesReference) {
  uint64_t seed = 1;
  for (const MlaPrefillCase& c : kMlaPrefillCases)
    for (const bool causal : {true, false})
      for (const auto& [in, out] :
           {std::pair{DType::kF32, DType::kF32}, {DType::kBF16, DType::kBF16}, {DType::kBF16, DType::kF32}}) {
        const MlaPrefillProblem p(c, in, ++seed);
        MlaPrefillArgs args = p.args();
        args.causal = causal, args.base = causal ? LseBase::kE : LseBase::kTwo;
        const PrefillOutputs want = p.outputs(out);
        const Status ok = check_mla_prefill(with_outputs(args, want));
        ASSERT_TRUE(ok.ok()) << ok.message();
        run_ok(impl_named(mla_prefill_impls(), "reference"), with_outputs(args, want));
        for (const auto* impl : runnable(mla_prefill_impls(), with_outputs(args, want))) {
          const PrefillOutputs got = p.outputs(out);
          run_ok(*impl, with_outputs(args, got));
          expect_close_outputs(got, want, in, std::string(impl->name) + " " + name_of(c, in) + (causal ? " causal" : ""));
        }
      }
}

// The last rows of a sequence in a call of their own, and any number of threads.
TEST(MlaPrefill, SameBitsInChunks) {
  for (const MlaPrefillCase& c : {MlaPrefillCase{2, 128, 64, 128, 1, {150}, {190}}, {1, 48, 16, 40, 1, {90}, {90}}})
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const MlaPrefillProblem p(c, dtype, 20);
      for (const auto* impl : runnable(mla_prefill_impls(), with_outputs(p.args(), p.outputs(dtype)))) {
        const PrefillOutputs all = p.outputs(DType::kF32), again = p.outputs(DType::kF32);
        run_ok(*impl, with_outputs(p.args(), all));
        run_ok(*impl, with_outputs(p.args(), again), 1);
        expect_same_bits(again.o, all.o, impl->name);
        const size_t row = size_t(c.heads * c.value);
        const std::vector<double> want = all.o.values(), lse = all.lse.values();
        for (const int64_t tail : {1, 17, 64, 65}) {
          const Storage cu = ints({0, tail});
          const PrefillOutputs few = p.outputs(DType::kF32, tail);
          MlaPrefillArgs a = with_outputs(p.args(), few);
          a.q = a.q.slice(0, c.rows[0] - tail, c.rows[0]), a.cu_seqlens_q = cu;
          run_ok(*impl, a);
          EXPECT_EQ(few.o.values(), std::vector<double>(want.end() - tail * row, want.end())) << impl->name << " " << tail;
          EXPECT_EQ(few.lse.values(), std::vector<double>(lse.end() - tail * c.heads, lse.end())) << impl->name << " " << tail;
        }
      }
    }
}

// A prompt whose keys come in chunks: the earlier ones not causal, an empty one among them, merged one after another.
TEST(MlaPrefill, ChunksOfThePrefixMergeToOnePass) {
  const MlaPrefillCase c{2, 128, 64, 128, 1, {40}, {200}};
  for (const LseBase base : {LseBase::kE, LseBase::kTwo}) {
    const MlaPrefillProblem p(c, DType::kF32, 30);
    MlaPrefillArgs args = p.args();
    args.base = base;
    for (const auto* impl : runnable(mla_prefill_impls(), with_outputs(args, p.outputs(DType::kF32)))) {
      const PrefillOutputs whole = p.outputs(DType::kF32), total = p.outputs(DType::kF32), part = p.outputs(DType::kF32);
      run_ok(*impl, with_outputs(args, whole));
      const auto keys = [&](int64_t begin, int64_t end, const PrefillOutputs& out, bool causal) {
        const Storage cu = ints({0, end - begin});
        MlaPrefillArgs a = with_outputs(args, out);
        a.k_nope = a.k_nope.slice(0, begin, end), a.k_pe = a.k_pe.slice(0, begin, end), a.v = a.v.slice(0, begin, end);
        a.cu_seqlens_k = cu, a.causal = causal;
        run_ok(*impl, a);
      };
      keys(160, 200, total, true);
      for (const auto& [begin, end] : {std::pair{0, 0}, {0, 70}, {70, 160}}) {
        keys(begin, end, part, false);
        const std::vector<double> lse = part.lse.values();
        EXPECT_EQ(lse == std::vector<double>(80, -INFINITY), end == 0) << impl->name;
        const MergeStateArgs merge{
            .a = {part.o, part.lse, base}, .b = {total.o, total.lse, base}, .out = {total.o, total.lse, base}};
        run_ok(impl_named(merge_state_impls(), "reference"), merge);
      }
      expect_close_outputs(total, whole, DType::kF32, impl->name);
    }
  }
}

// One layer's weights: the expanded form over k_nope and v, and the absorbed one over the latents, are the same attention.
TEST(MlaPrefill, ExpandedIsAbsorbed) {
  constexpr int64_t H = 3, N = 24, P = 16, V = 20, R = 64, S = 90, T = 5;
  Random random(40);
  const Storage q = random.normal(DType::kF32, {T, H, N + P}), kv = random.normal(DType::kF32, {1, S, R + P}),
                w = random.normal(DType::kF32, {H, N + V, R}, 0.2);
  Storage expanded(DType::kF32, {S, H, N + V}), absorbed(DType::kF32, {T, H, R});
  const auto at = [](const Storage& s, int64_t i, int64_t j, int64_t k) -> float& {
    const Tensor& t = s;
    return t.as<float>()[i * t.stride[0] + j * t.stride[1] + k];
  };
  for (int64_t h = 0; h < H; ++h)
    for (int64_t r = 0; r < R; ++r) {
      for (int64_t t = 0; t < T; ++t) {
        double sum = 0;
        for (int64_t d = 0; d < N; ++d) sum += double(at(q, t, h, d)) * at(w, h, d, r);
        at(absorbed, t, h, r) = float(sum);
      }
      for (int64_t s = 0; s < S; ++s)
        for (int64_t d = 0; d < N + V; ++d)
          at(expanded, s, h, d) = float((r ? at(expanded, s, h, d) : 0.0) + double(at(kv, 0, s, r)) * at(w, h, d, r));
    }
  const Storage cu_q = ints({0, T}), cu_k = ints({0, S}), lengths = ints({S}), table(DType::kI32, {1, 1});
  table.tensor().as<int32_t>()[0] = 0;
  const float scale = 1 / std::sqrt(float(N + P));
  const PrefillOutputs want(DType::kF32, T, H, V);
  const MlaPrefillArgs a{.q = q,
                         .k_nope = expanded.tensor().slice(2, 0, N),
                         .k_pe = kv.tensor()[0].slice(1, R, R + P),
                         .v = expanded.tensor().slice(2, N, N + V),
                         .cu_seqlens_q = cu_q,
                         .cu_seqlens_k = cu_k,
                         .o = want.o,
                         .lse = want.lse,
                         .scale = scale};
  for (const auto* impl : runnable(mla_prefill_impls(), a)) {
    run_ok(*impl, a);
    const PrefillOutputs latent(DType::kF32, T, H, R), got(DType::kF32, T, H, V);
    run_ok(impl_named(mla_decode_impls(), "reference"), MlaDecodeArgs{.q_nope = absorbed,
                                                                      .q_pe = q.tensor().slice(2, N, N + P),
                                                                      .kv = kv,
                                                                      .block_table = table,
                                                                      .seq_lens = lengths,
                                                                      .o = latent.o,
                                                                      .lse = got.lse,
                                                                      .scale = scale});
    for (int64_t t = 0; t < T; ++t)
      for (int64_t h = 0; h < H; ++h)
        for (int64_t v = 0; v < V; ++v) {
          double sum = 0;
          for (int64_t r = 0; r < R; ++r) sum += double(at(latent.o, t, h, r)) * at(w, h, N + v, r);
          at(got.o, t, h, v) = float(sum);
        }
    expect_close_outputs(got, want, DType::kF32, impl->name);
  }
}

// A NaN in a key that a row sees is not hidden; on the CPU a later one does not reach it.
TEST(MlaPrefill, NaNOfAKey) {
  const MlaPrefillProblem p({1, 128, 64, 128, 1, {3}, {10}}, DType::kBF16, 50);
  p.args().v.as<Bf16>()[8 * p.args().v.stride[0] + 2] = Bf16(NAN),
                                                   p.args().k_pe.as<Bf16>()[9 * p.args().k_pe.stride[0]] = Bf16(NAN);
  for (const auto* impl : runnable(mla_prefill_impls(), with_outputs(p.args(), p.outputs(DType::kF32)))) {
    const PrefillOutputs got = p.outputs(DType::kF32);
    run_ok(*impl, with_outputs(p.args(), got));
    const std::vector<double> o = got.o.values();
    EXPECT_TRUE(std::isfinite(o[2]) || is_gpu(impl->isa)) << impl->name;
    EXPECT_TRUE(std::isnan(o[128 + 2]) && std::isfinite(o[128 + 3])) << impl->name;
    EXPECT_TRUE(std::isnan(o[256 + 5]) && std::isnan(got.lse.values()[2])) << impl->name;
  }
}

// Nor does one of another sequence reach it, on a GPU neither.
TEST(MlaPrefill, NaNOfTheNextSequence) {
  for (const MlaPrefillCase& c : {MlaPrefillCase{1, 128, 64, 128, 2, {3, 2}, {10, 130}}, {1, 192, 64, 256, 2, {3, 2}, {90, 100}}}) {
    const MlaPrefillProblem p(c, DType::kBF16, 55);
    const MlaPrefillArgs& a = p.args();
    for (int64_t j = c.keys[0]; j < c.keys[0] + c.keys[1]; ++j)
      a.v.as<Bf16>()[j * a.v.stride[0]] = a.k_pe.as<Bf16>()[j * a.k_pe.stride[0]] = Bf16(NAN);
    for (const auto* impl : runnable(mla_prefill_impls(), with_outputs(a, p.outputs(DType::kF32)))) {
      const PrefillOutputs got = p.outputs(DType::kF32);
      run_ok(*impl, with_outputs(a, got));
      const std::vector<double> o = got.o.values(), lse = got.lse.values();
      const auto finite = [](double v) { return std::isfinite(v); };
      EXPECT_TRUE(std::all_of(o.begin(), o.begin() + c.rows[0] * c.value, finite)) << impl->name;
      EXPECT_TRUE(std::all_of(lse.begin(), lse.begin() + c.rows[0], finite) && std::isnan(lse.back())) << impl->name;
    }
  }
}

TEST(MlaPrefill, NothingToDo) {
  const MlaPrefillProblem p({2, 128, 64, 128, 2, {0, 0}, {5, 0}}, DType::kBF16, 60);
  for (const auto* impl : runnable(mla_prefill_impls(), with_outputs(p.args(), p.outputs(DType::kF32))))
    run_ok(*impl, with_outputs(p.args(), p.outputs(DType::kF32)));
}

TEST(MlaPrefill, RefusesBadArguments) {
  const MlaPrefillProblem p({2, 8, 4, 6, 2, {3, 4}, {3, 9}}, DType::kF32, 70);
  const PrefillOutputs out = p.outputs(DType::kF32);
  const Storage bf16(DType::kBF16, {12, 2, 8}), wide(DType::kF32, {12, 2, 20}),
      three = ints({0, 3, 6}), descending = ints({0, 8, 7}), none = ints({}), two = ints({0, 12});
  const auto message = [&](auto&& change) {
    MlaPrefillArgs a = with_outputs(p.args(), out);
    change(a);
    return check_mla_prefill(a).message();
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_EQ(message([](auto& a) { a = {}; }), "mla_prefill: q is missing");
  EXPECT_EQ(message([&](auto& a) { a.q = two; }), "mla_prefill: q has rank 1, wanted 3");
  EXPECT_EQ(message([&](auto& a) { a.k_nope = bf16; }), "mla_prefill: k_nope is BF16, wanted F32");
  EXPECT_EQ(message([&](auto& a) { a.k_nope = wide; }), "mla_prefill: k_nope has more elements than q");
  EXPECT_EQ(message([](auto& a) { a.k_pe = {}; }), "mla_prefill: k_pe is missing");
  EXPECT_EQ(message([](auto& a) { a.k_pe = a.k_pe.slice(0, 0, 3); }), "mla_prefill: k_pe has shape [3, 4], wanted [12, 4]");
  EXPECT_EQ(message([](auto& a) { a.v = a.v.slice(0, 0, 3); }), "mla_prefill: v has shape [3, 2, 6], wanted [12, 2, 6]");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens_q = none; }),
            "mla_prefill: cu_seqlens_q is empty, wanted an entry more than there are sequences");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens_q = three; }), "mla_prefill: cu_seqlens_q must go from 0 to the rows of q");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens_q = descending; }), "mla_prefill: cu_seqlens_q must not descend");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens_k = two; }), "mla_prefill: cu_seqlens_k has shape [2], wanted [3]");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens_k = three; }), "mla_prefill: cu_seqlens_k must go from 0 to the rows of k_nope");
  EXPECT_EQ(message([](auto& a) { a.o = a.o.slice(2, 0, 5); }), "mla_prefill: o has shape [7, 2, 5], wanted [7, 2, 6]");
  EXPECT_EQ(message([&](auto& a) { a.lse = out.o; }), "mla_prefill: lse has shape [7, 2, 6], wanted [7, 2]");
  EXPECT_EQ(message([](auto& a) { a.scale = -1; }), "mla_prefill: scale must be above 0; it is usually (N + P)^-0.5");
}

}  // namespace
}  // namespace sluice
