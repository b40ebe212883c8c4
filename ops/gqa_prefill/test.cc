#include "core/rows.h"
#include "ops/gqa_prefill/gqa_prefill.h"
#include "ops/gqa_prefill/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// fp32 outputs meet the fp32 limit with bf16 caches too: the reference rounds q as the vector forms do.
Tolerance tolerance(DType o) { return o == DType::kF32 ? Tolerance{5e-6, 3e-5} : Tolerance{8e-3, 2e-2}; }

std::string describe(const char* impl, const GqaCase& c, DType cache) {
  return std::string(impl) + " " + std::string(dtype_name(cache)) + " group " + std::to_string(c.group) + " dim " +
         std::to_string(c.dim) + " page " + std::to_string(c.page);
}

void expect_matches_reference(const GqaCase& c, DType in, DType cache, DType o, bool gated) {
  const GqaProblem problem(c, in, cache, 7);
  auto call = problem.all();
  if (!gated) call.args.gate = {};
  const GqaOutputs want(o, problem.total(), problem.heads(), c.dim);
  const auto args = with_outputs<GqaPrefillArgs>(call.args, want);
  ASSERT_EQ(check_gqa_prefill(args).to_string(), "");
  run_ok(impl_named(gqa_prefill_impls(), "reference"), args);
  for (const auto* impl : runnable(gqa_prefill_impls(), args)) {
    const GqaOutputs got(o, problem.total(), problem.heads(), c.dim);
    run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, got));
    expect_close(got.o, want.o, tolerance(o), describe(impl->name, c, cache));
    expect_close(got.lse, want.lse, tolerance(DType::kF32), describe(impl->name, c, cache) + " lse");
  }
}

TEST(GqaPrefill, MatchesReferenceF32) {
  for (const GqaCase& c : kGqaCases) expect_matches_reference(c, DType::kF32, DType::kF32, DType::kF32, true);
}
TEST(GqaPrefill, MatchesReferenceBf16Cache) {
  for (const GqaCase& c : kGqaCases) expect_matches_reference(c, DType::kF32, DType::kBF16, DType::kF32, false);
}
TEST(GqaPrefill, MatchesReferenceAllBf16) {  // only conversions are new: small cases do
  for (const int i : {2, 4, 7, 9}) expect_matches_reference(kGqaCases[i], DType::kBF16, DType::kBF16, DType::kBF16, true);
}
TEST(GqaPrefill, MatchesReferenceInTiles) {  // of a GPU's tensor cores: tiles of 128 rows, blocks of 64 and 128 keys
  for (const GqaCase& c : kGqaTileCases) expect_matches_reference(c, DType::kBF16, DType::kBF16, DType::kBF16, true);
  expect_matches_reference(kGqaTileCases[0], DType::kBF16, DType::kBF16, DType::kBF16, false);
}
TEST(GqaPrefill, MatchesReferenceOverSpans) {
  for (const GqaCase& c : kGqaLongCases)
    for (const DType cache : {DType::kF32, DType::kBF16}) expect_matches_reference(c, DType::kF32, cache, DType::kF32, true);
}

// The formula by hand: the reference is not its own judge.
TEST(GqaPrefill, TwoKeysByHand) {
  Storage q(DType::kF32, {2, 1, 2}), cache(DType::kF32, {1, 2, 1, 2}), values(DType::kF32, {1, 2, 1, 2});
  const double qs[] = {5, 5, 1, 0}, ks[] = {2, 9, 3, 9}, vs[] = {10, 20, 30, 40};
  int i = 0, j = 0, l = 0;
  q.fill([&] { return qs[i++]; }), cache.fill([&] { return ks[j++]; }), values.fill([&] { return vs[l++]; });
  Storage table(DType::kI32, {1, 1});
  table.fill([] { return 0; });
  const Storage cu = ints({0, 2}), lengths = ints({2});
  // Scores 0.5 * 2 and 0.5 * 3: weights 1 / (1 + e^0.5) and the rest.
  const double w = 1 / (1 + std::exp(0.5)), row1[] = {10 * w + 30 * (1 - w), 20 * w + 40 * (1 - w)};
  const GqaArgs call{
      .q = q, .k_cache = cache, .v_cache = values, .block_table = table, .seq_lens = lengths, .cu_seqlens = cu, .scale = 0.5};
  const GqaOutputs out(DType::kF32, 2, 1, 2);
  for (const auto* form : runnable(gqa_prefill_impls(), with_outputs<GqaPrefillArgs>(call, out))) {
    const auto& impl = *form;
    run_ok(impl, with_outputs<GqaPrefillArgs>(call, out));
    const auto o = out.o.values(), lse = out.lse.values();
    const double want[] = {10, 20, row1[0], row1[1]}, want_lse[] = {27.5, std::log(std::exp(1) + std::exp(1.5))};
    for (int n = 0; n < 4; ++n) EXPECT_NEAR(o[n], want[n], 1e-5) << impl.name;
    for (int n = 0; n < 2; ++n) EXPECT_NEAR(lse[n], want_lse[n], 1e-5) << impl.name;
  }
}

void expect_same_rows(const Storage& piece, int64_t begin, const Storage& whole, int64_t at, int64_t rows,
                      const std::string& what) {
  for (int64_t i = 0; i < rows; ++i) {
    const Tensor a = piece.tensor()[begin + i], b = whole.tensor()[at + i];
    ASSERT_EQ(std::memcmp(a.data, b.data, a.bytes()), 0) << what << " row " << at + i;
  }
}

// Each sequence in pieces of `step` rows, all sequences of a round in one call.
void expect_pieces_same(const GqaProblem& problem, const Impl<GqaPrefillArgs>& impl, const GqaOutputs& whole, int64_t step,
                        int threads) {
  const auto& rows = problem.rows();
  const int64_t longest = *std::max_element(rows.begin(), rows.end());
  for (int64_t done = 0; done < longest; done += step) {
    std::vector<int64_t> begin, end;
    int64_t total = 0;
    for (const int64_t n : rows) {
      begin.push_back(std::min(done, n)), end.push_back(std::min(done + step, n));
      total += end.back() - begin.back();
    }
    const auto call = problem.call(begin, end);
    const GqaOutputs got(whole.o.tensor().dtype, total, problem.heads(), problem.dim());
    run_ok(impl, with_outputs<GqaPrefillArgs>(call.args, got), threads);
    for (size_t b = 0, at = 0; b < rows.size(); at += end[b] - begin[b], ++b) {
      expect_same_rows(got.o, at, whole.o, problem.first_row(b) + begin[b], end[b] - begin[b], impl.name);
      expect_same_rows(got.lse, at, whole.lse, problem.first_row(b) + begin[b], end[b] - begin[b], impl.name);
    }
  }
}

TEST(GqaPrefill, SameBitsInPiecesAndWithOtherThreads) {
  for (const GqaCase* c :
       {&kGqaCases[1], &kGqaCases[3], &kGqaCases[7], &kGqaLongCases[0], &kGqaLongCases[1], &kGqaTileCases[0], &kGqaTileCases[3]})
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const GqaProblem problem(*c, dtype, dtype, 9);
      const auto call = problem.all();
      const GqaOutputs whole(dtype, problem.total(), problem.heads(), c->dim);
      for (const auto* impl : runnable(gqa_prefill_impls(), with_outputs<GqaPrefillArgs>(call.args, whole))) {
        if (impl->name == std::string("reference")) continue;
        run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, whole));
        for (const int threads : {1, 3}) {
          const GqaOutputs got(dtype, problem.total(), problem.heads(), c->dim);
          run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, got), threads);
          expect_same_bits(got.o, whole.o, impl->name);
          expect_same_bits(got.lse, whole.lse, impl->name);
        }
        expect_pieces_same(problem, *impl, whole, 5, 2);
        expect_pieces_same(problem, *impl, whole, 23, 1);
      }
    }
}

// The same sequence in pages of 1, 16 and 64.
TEST(GqaPrefill, SameBitsWithOtherPages) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    GqaCase c = {1, 4, 40, 64, 1, {150}, {20}};
    const GqaProblem first(c, dtype, dtype, 3);
    const auto call = first.all();
    const Tensor from_k = call.args.k_cache, from_v = call.args.v_cache;
    const int32_t* table = call.args.block_table.as<int32_t>();
    for (const auto* impl : runnable(gqa_prefill_impls(), GqaPrefillArgs{call.args})) {
      const GqaOutputs whole(dtype, 20, 4, 40);
      run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, whole));
      for (const int64_t page : {1, 16}) {
        const int64_t pages = (170 + page - 1) / page;
        const Storage k(dtype, {pages, page, 1, 40}), v(dtype, {pages, page, 1, 40});
        Storage descending(DType::kI32, {1, pages});
        int64_t next = pages;
        descending.fill([&] { return --next; });
        for (int64_t p = 0; p < 170; ++p) {
          const int64_t to = pages - 1 - p / page;
          std::memcpy(k.tensor()[to][p % page].data, from_k[table[p / 64]][p % 64].data, 40 * dtype_size(dtype));
          std::memcpy(v.tensor()[to][p % page].data, from_v[table[p / 64]][p % 64].data, 40 * dtype_size(dtype));
        }
        const GqaOutputs got(dtype, 20, 4, 40);
        auto args = with_outputs<GqaPrefillArgs>(call.args, got);
        args.k_cache = k, args.v_cache = v, args.block_table = descending;
        run_ok(*impl, args);
        expect_same_bits(got.o, whole.o, impl->name);
        expect_same_bits(got.lse, whole.lse, impl->name);
      }
    }
  }
}

TEST(GqaPrefill, PaddingIsZeroAndNothingIsRead) {
  const GqaProblem problem({2, 2, 40, 16, 2, {3, 5}, {2, 3}}, DType::kF32, DType::kF32, 1);
  const auto call = problem.all();
  const Storage lengths = ints({0, 8});
  for (const auto* form :
       runnable(gqa_prefill_impls(), with_outputs<GqaPrefillArgs>(call.args, GqaOutputs(DType::kF32, 5, 4, 40)))) {
    const auto& impl = *form;
    const GqaOutputs out(DType::kF32, 5, 4, 40);
    auto args = with_outputs<GqaPrefillArgs>(call.args, out);
    args.seq_lens = lengths;
    std::fill_n(args.block_table.as<int32_t>(), 1, -1);
    ASSERT_TRUE(check_gqa_prefill(args).ok());
    run_ok(impl, args);
    const auto o = out.o.values(), lse = out.lse.values();
    for (int64_t i = 0; i < 2 * 4 * 40; ++i) EXPECT_EQ(o[i], 0) << impl.name;
    for (int64_t i = 0; i < 2 * 4; ++i) EXPECT_EQ(lse[i], -INFINITY) << impl.name;
    for (int64_t i = 2 * 4 * 40; i < 5 * 4 * 40; ++i) EXPECT_TRUE(std::isfinite(o[i])) << impl.name;
    EXPECT_TRUE(out.o.margins_intact());
  }
}

// A key and a value that are NaN reach the rows that see them and no row before.
TEST(GqaPrefill, LaterNanStaysLater) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const GqaProblem problem({1, 2, 40, 16, 1, {60}, {11}}, dtype, dtype, 6);
    const auto call = problem.all();
    const int64_t last = 70;
    const int32_t page = call.args.block_table.as<int32_t>()[last / 16];
    const Tensor k = call.args.k_cache[page][last % 16][0], v = call.args.v_cache[page][last % 16][0];
    const std::vector<std::byte> k_good(static_cast<std::byte*>(k.data), static_cast<std::byte*>(k.data) + k.bytes());
    const std::vector<std::byte> v_good(static_cast<std::byte*>(v.data), static_cast<std::byte*>(v.data) + v.bytes());
    for (const auto* impl : runnable(gqa_prefill_impls(), GqaPrefillArgs{call.args})) {
      const GqaOutputs want(DType::kF32, 11, 2, 40), got(DType::kF32, 11, 2, 40);
      run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, want));
      std::memset(k.data, 0xff, k.bytes()), std::memset(v.data, 0xff, v.bytes());
      run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, got));
      std::memcpy(k.data, k_good.data(), k.bytes()), std::memcpy(v.data, v_good.data(), v.bytes());
      expect_same_rows(got.o, 0, want.o, 0, 10, impl->name);
      expect_same_rows(got.lse, 0, want.lse, 0, 10, impl->name);
      for (int d = 0; d < 40; ++d) EXPECT_TRUE(std::isnan(got.o.tensor()[10][1].as<float>()[d])) << impl->name;
    }
  }
}

// Keys before first_key might as well not be there, whatever lies in their place.
TEST(GqaPrefill, KeysBeforeTheFirstAreNotThere) {
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const int64_t first : {1, 3, 63}) {
      const GqaProblem problem({2, 2, 40, 16, 2, {63, 130}, {5, 9}}, dtype, dtype, 12);
      auto call = problem.all();
      call.args.first_key = first;
      const GqaOutputs want(DType::kF32, 14, 4, 40);
      run_ok(impl_named(gqa_prefill_impls(), "reference"), with_outputs<GqaPrefillArgs>(call.args, want));
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t j = 0; j < first; ++j) {
          const int32_t page = call.args.block_table[b].as<int32_t>()[j / 16];
          for (const Tensor& cache : {call.args.k_cache, call.args.v_cache}) {
            const Tensor row = cache[page][j % 16];
            std::memset(row.data, 0xff, row.bytes());  // NaN
          }
        }
      for (const auto* impl : runnable(gqa_prefill_impls(), GqaPrefillArgs{call.args})) {
        const GqaOutputs got(DType::kF32, 14, 4, 40);
        run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, got));
        expect_close(got.o, want.o, tolerance(DType::kF32), impl->name);
        expect_close(got.lse, want.lse, tolerance(DType::kF32), impl->name);
      }
    }
}

// Large scores: the largest weight is e^0 whatever the scale, and an early maximum outlives blocks of small scores.
TEST(GqaPrefill, LargeScores) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const GqaProblem problem({1, 4, 64, 16, 1, {180}, {5}}, dtype, dtype, 4);
    auto call = problem.all();
    call.args.scale = 30;
    const GqaOutputs want(DType::kF32, 5, 4, 64);
    run_ok(impl_named(gqa_prefill_impls(), "reference"), with_outputs<GqaPrefillArgs>(call.args, want));
    for (const auto* impl : runnable(gqa_prefill_impls(), GqaPrefillArgs{call.args})) {
      const GqaOutputs got(DType::kF32, 5, 4, 64);
      run_ok(*impl, with_outputs<GqaPrefillArgs>(call.args, got));
      // Scores near 1000 have an ulp of 6e-5, which the weights inherit as a relative error.
      expect_close(got.o, want.o, {1e-3, 1e-3}, impl->name);
      expect_close(got.lse, want.lse, {5e-6, 3e-5}, impl->name);
    }
  }
}

TEST(GqaPrefill, NothingToDo) {
  const GqaProblem problem({1, 2, 16, 4, 2, {3, 0}, {0, 0}}, DType::kF32, DType::kF32, 1);
  const auto call = problem.all();
  const GqaOutputs out(DType::kF32, 0, 2, 16);
  const auto args = with_outputs<GqaPrefillArgs>(call.args, out);
  EXPECT_TRUE(gqa_prefill(context(), args).ok());
}

TEST(GqaPrefill, RefusesBadArguments) {
  const GqaProblem problem({2, 2, 16, 4, 2, {3, 9}, {2, 1}}, DType::kF32, DType::kF32, 1);
  const auto call = problem.all();
  const GqaOutputs out(DType::kF32, 3, 4, 16);
  const auto good = with_outputs<GqaPrefillArgs>(call.args, out);
  const auto message = [&](auto&& change) {
    auto args = good;
    change(args);
    return check_gqa_prefill(args).message();
  };
  const Storage ids(DType::kI32, {3, 4, 16}), narrow(DType::kF32, {3, 4, 15}), three(DType::kF32, {3, 3, 16});
  const Storage bf16(DType::kBF16, {6, 4, 2, 16}), short_cu = ints({0, 3}), wrong_cu = ints({0, 2, 4}), falling = ints({0, 4, 3});
  const Storage too_long = ints({5, 100}), too_short = ints({1, 10}), negative = ints({-1, 10}), other_page = ints({0, 0});
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_EQ(message([](auto& a) { a.q = {}; }), "gqa_prefill: q is missing");
  EXPECT_EQ(message([&](auto& a) { a.q = ids; }), "gqa_prefill: q is I32, wanted F32 or BF16");
  EXPECT_EQ(message([&](auto& a) { a.q = three; }), "gqa_prefill: q has 3 heads, wanted a multiple of the cache's 2");
  EXPECT_EQ(message([&](auto& a) { a.gate = narrow; }), "gqa_prefill: gate has shape [3, 4, 15], wanted [3, 4, 16]");
  EXPECT_EQ(message([&](auto& a) { a.o = narrow; }), "gqa_prefill: o has shape [3, 4, 15], wanted [3, 4, 16]");
  EXPECT_EQ(message([&](auto& a) { a.lse = narrow; }), "gqa_prefill: lse has shape [3, 4, 15], wanted [3, 4]");
  EXPECT_EQ(message([&](auto& a) { a.v_cache = bf16; }), "gqa_prefill: v_cache is BF16, wanted F32");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = {}; }), "gqa_prefill: cu_seqlens is missing");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = short_cu; }), "gqa_prefill: cu_seqlens has shape [2], wanted [3]");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = wrong_cu; }), "gqa_prefill: cu_seqlens must go from 0 to the rows of q");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = falling; }), "gqa_prefill: cu_seqlens must not descend");
  EXPECT_EQ(message([](auto& a) { a.scale = 0; }), "gqa_prefill: scale must be above 0; it is usually D^-0.5");
  EXPECT_EQ(message([](auto& a) { a.first_key = 64; }), "gqa_prefill: first_key must be 0 to 63");
  EXPECT_EQ(message([](auto& a) { a.first_key = 4; }), "gqa_prefill: a row stands before first_key");
  const char* rows = "gqa_prefill: seq_lens must be 0 or at least the sequence's rows of q";
  EXPECT_EQ(message([&](auto& a) { a.seq_lens = too_short; }), rows);
  EXPECT_EQ(message([&](auto& a) { a.seq_lens = negative; }), rows);
  EXPECT_EQ(message([&](auto& a) { a.seq_lens = too_long; }), "gqa_prefill: seq_lens is longer than the pages in block_table");
  good.block_table.as<int32_t>()[1] = -1;
  EXPECT_EQ(message([](auto&) {}), "gqa_prefill: block_table names a page outside the cache");
}

}  // namespace
}  // namespace sluice
