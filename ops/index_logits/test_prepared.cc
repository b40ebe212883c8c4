// The indexer from its inputs to the chosen keys: what indexer_prepare writes is what index_logits reads, and index_topk ranks.
#include <cmath>

#include "ops/index_logits/index_logits.h"
#include "ops/index_topk/index_topk.h"
#include "ops/indexer_prepare/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr int64_t kTokens = 90, kHeads = 32, kDim = 128, kPage = 64, kChosen = 20;

// The scores of the query of the last token with all keys, from queries and keys that were not quantised.
std::vector<double> exact_scores(const Given& given, IndexerPrepareArgs args) {
  Storage q(DType::kF32, {kTokens, kHeads, kDim}), k(DType::kF32, {kTokens, kDim});
  args.q.out = q, args.q.scale = {}, args.q.gate = {}, args.q.weights = {};
  args.k.out = k, args.k.cache = {}, args.k.loc = {};
  run_ok(impl_named(indexer_prepare_impls(), "reference"), args);
  const std::vector<double> queries = q.values(), keys = k.values(), weights = given.weights.values();
  std::vector<double> scores;
  for (int64_t s = 0; s < kTokens; ++s) {
    double score = 0;
    for (int64_t h = 0; h < kHeads; ++h) {
      double dot = 0;
      for (int64_t d = 0; d < kDim; ++d)
        dot += queries[size_t(((kTokens - 1) * kHeads + h) * kDim + d)] * keys[size_t(s * kDim + d)];
      score += std::max(dot, 0.0) * weights[size_t((kTokens - 1) * kHeads + h)] / std::sqrt(double(kHeads * kDim));
    }
    scores.push_back(score);
  }
  return scores;
}

TEST(IndexLogitsPrepared, FromInputsToChosenKeys) {
  Random random(1);
  const IndexerPrepareCase c{.tokens = kTokens, .heads = kHeads, .dim = kDim, .rotary_dim = 64};
  const Given given(random, c, DType::kBF16);
  for (const bool hadamard : {false, true}) {
    const Made made(c, DType::kF8E4M3, DType::kF32, kPage);
    std::vector<int64_t> at;
    for (int64_t t = 0; t < kTokens; ++t) at.push_back((t < kPage ? 3 : 1) * kPage + t % kPage);
    const Storage loc = ints(at), lens = ints({kTokens});
    Storage table(DType::kI32, {1, 2});
    int64_t page = 5;
    table.fill([&] { return page -= 2, page; });  // 3, 1
    IndexerPrepareArgs args{.positions = given.positions, .cos_sin = given.cos_sin, .hadamard = hadamard};
    args.q = {.x = given.q, .weights = given.weights, .out = made.q, .scale = made.scale, .gate = made.gate};
    args.k = {.x = given.k, .norm_weight = given.norm_weight, .norm_bias = given.norm_bias, .cache = made.cache, .loc = loc};
    ASSERT_TRUE(check_indexer_prepare(args).ok()) << check_indexer_prepare(args).message();
    run_ok(impl_named(indexer_prepare_impls(), "reference"), args);

    const std::vector<double> want = exact_scores(given, args);
    const Tensor last_q = made.q.tensor().slice(0, kTokens - 1, kTokens), gate = made.gate.tensor().slice(0, kTokens - 1, kTokens);
    Storage scores(DType::kF32, {1, 2 * kPage}), chosen(DType::kI32, {1, kChosen});
    const IndexLogitsArgs logits{.q = last_q,
                                 .weights = gate,
                                 .cache = made.cache,
                                 .page_size = kPage,
                                 .block_table = table,
                                 .context_lens = lens,
                                 .logits = scores};
    ASSERT_TRUE(check_index_logits(logits).ok()) << check_index_logits(logits).message();
    for (const auto* impl : runnable(index_logits_impls(), logits)) {
      run_ok(*impl, logits);
      std::vector<double> got = scores.values();
      got.resize(size_t(kTokens));  // -inf behind them
      const Error e = error(got, want);
      // e4m3 is off by 2.6 % rms, a product of two by 3.7 %; heads whose weights differ in sign cancel more of the scores than of
      // that.
      EXPECT_LE(e.rel_rms, 7.5e-2) << impl->name;
      run_ok(impl_named(index_topk_impls(), "reference"), IndexTopkArgs{.scores = scores, .lengths = lens, .out = chosen});
      std::vector<double> sorted = want;
      std::ranges::sort(sorted, std::greater<>());
      for (const double i : chosen.values())
        EXPECT_GE(want[size_t(i)], sorted[size_t(kChosen - 1)] - 0.1 * std::abs(sorted[0])) << impl->name << " key " << i;
    }
  }
}

}  // namespace
}  // namespace sluice
