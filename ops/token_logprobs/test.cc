#include <limits>

#include "ops/token_logprobs/cases.h"
#include "ops/token_logprobs/token_logprobs.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Outputs {
  Storage logprobs, ranks, best_ids, best_logprobs;
  Outputs(int64_t rows, int64_t best)
      : logprobs(DType::kF32, {rows}),
        ranks(DType::kI32, {rows}),
        best_ids(DType::kI32, {rows, best}, best + 3),
        best_logprobs(DType::kF32, {rows, best}, best + 1) {}
};

// `best` 0: without counts.
Outputs run(const Impl<TokenLogprobsArgs>& impl, const Tensor& logits, const Tensor& ids, const Tensor& counts, int64_t best,
            int threads = 2) {
  Outputs out(logits.shape[0], best);
  TokenLogprobsArgs args{.logits = logits, .ids = ids, .logprobs = out.logprobs, .ranks = out.ranks};
  if (best > 0) args.counts = counts, args.best_ids = out.best_ids, args.best_logprobs = out.best_logprobs;
  EXPECT_TRUE(check_token_logprobs(args).ok()) << check_token_logprobs(args).message();
  run_ok(impl, args, threads);
  return out;
}

void expect_near(const Storage& got, const Storage& want, const std::string& what) {
  const std::vector<double> g = got.values(), w = want.values();
  for (size_t i = 0; i < w.size(); ++i)
    EXPECT_TRUE(std::isnan(w[i]) ? std::isnan(g[i]) : std::abs(g[i] - w[i]) <= 1e-5 + 1e-6 * std::abs(w[i]))
        << what << ": " << g[i] << ", wanted " << w[i] << " at " << i;
  EXPECT_TRUE(got.margins_intact()) << what;
}

void expect_same(const Outputs& got, const Outputs& want, const std::string& what) {
  EXPECT_EQ(got.ranks.values(), want.ranks.values()) << what;
  EXPECT_EQ(got.best_ids.values(), want.best_ids.values()) << what;
  EXPECT_TRUE(got.ranks.margins_intact() && got.best_ids.margins_intact()) << what;
  expect_near(got.logprobs, want.logprobs, what);
  expect_near(got.best_logprobs, want.best_logprobs, what);
}

std::vector<const Impl<TokenLogprobsArgs>*> forms() { return runnable(token_logprobs_impls(), TokenLogprobsArgs{}); }
const auto& reference() { return impl_named(token_logprobs_impls(), "reference"); }

Storage random_ints(Random& random, int64_t rows, int64_t low, int64_t high) {
  Storage s(DType::kI32, {rows});
  s.fill([&] { return random.integer(low, high); });
  return s;
}

TEST(TokenLogprobs, MatchesReference) {
  Random random(1);
  for (const TokenLogprobsCase& c : kTokenLogprobsCases)
    for (const int64_t levels : {0, 1, 5}) {  // logits: 0 random, else so many different ones, and ties everywhere
      Storage logits = random.normal(DType::kF32, {c.rows, c.vocab}, 3.0, c.row_stride);
      if (levels) logits.fill([&] { return double(random.integer(1, levels)); });
      const Storage ids = random_ints(random, c.rows, -1, c.vocab - 1), counts = random_ints(random, c.rows, 0, c.best);
      const Outputs want = run(reference(), logits, ids, counts, c.best);
      for (const auto* impl : forms())
        expect_same(run(*impl, logits, ids, counts, c.best), want, std::string(impl->name) + " vocab " + std::to_string(c.vocab));
    }
}

// By hand: probabilities 0.15, 0.5, 0.05, 0.3.
TEST(TokenLogprobs, KnownValues) {
  const double probability[] = {0.15, 0.5, 0.05, 0.3};
  Storage logits(DType::kF32, {5, 4});
  int64_t i = 0;
  logits.fill([&] { return std::log(probability[i++ % 4]) + 7; });
  for (const auto* impl : forms()) {
    const Outputs out = run(*impl, logits, ints({0, 1, 2, 3, -1}), ints({0, 1, 3, 6, 2}), 6);
    EXPECT_EQ(out.ranks.values(), (std::vector<double>{3, 1, 4, 2, 0})) << impl->name;
    for (int r = 0; r < 4; ++r) EXPECT_NEAR(out.logprobs.values()[r], std::log(probability[r]), 1e-5) << impl->name;
    EXPECT_TRUE(std::isnan(out.logprobs.values()[4])) << impl->name;
    const std::vector<double> best = out.best_ids.values(), logprobs = out.best_logprobs.values();
    const double order[] = {1, 3, 0, 2};
    const int there[] = {0, 1, 3, 4, 2};
    for (int r = 0; r < 5; ++r)
      for (int n = 0; n < 6; ++n) {
        EXPECT_EQ(best[6 * r + n], n < there[r] ? order[n] : -1) << impl->name << " " << r << " " << n;
        if (n < there[r]) EXPECT_NEAR(logprobs[6 * r + n], std::log(probability[int(order[n])]), 1e-5) << impl->name;
        else EXPECT_TRUE(std::isnan(logprobs[6 * r + n])) << impl->name;
      }
  }
}

// Equal logits: one rank for all, the lowest ids first, also across the borders of groups and blocks.
TEST(TokenLogprobs, Ties) {
  constexpr int64_t kVocab = 9000;
  Storage logits(DType::kF32, {3, kVocab});
  const std::set<int64_t> high{63, 64, 4095, 4096, 8999};
  int64_t i = 0;
  logits.fill([&] { return high.count(i++ % kVocab) ? 1.0 : 0.0; });
  for (const auto* impl : forms()) {
    const Outputs out = run(*impl, logits, ints({8999, 5, 63}), ints({7, 3, 0}), 7);
    EXPECT_EQ(out.ranks.values(), (std::vector<double>{1, 6, 1})) << impl->name;
    const std::vector<double> best = out.best_ids.values(), want{63, 64, 4095, 4096, 8999, 0, 1, 63, 64, 4095};
    EXPECT_EQ(std::vector<double>(best.begin(), best.begin() + 10), want) << impl->name;
  }
}

// Every token's logprob: as probabilities they add up to 1.
TEST(TokenLogprobs, ProbabilitiesAddUp) {
  Random random(2);
  constexpr int64_t kVocab = 300;
  const Storage row = random.normal(DType::kF32, {1, kVocab}, 4.0);
  Storage logits(DType::kF32, {kVocab, kVocab}), ids(DType::kI32, {kVocab});
  const std::vector<double> x = row.values();
  int64_t i = 0, id = 0;
  logits.fill([&] { return x[size_t(i++ % kVocab)]; });
  ids.fill([&] { return id++; });
  for (const auto* impl : forms()) {
    const Outputs out = run(*impl, logits, ids, ids, 0);
    double sum = 0;
    for (const double l : out.logprobs.values()) sum += std::exp(l);
    EXPECT_NEAR(sum, 1, 1e-5) << impl->name;
    std::set<double> ranks;
    for (const double r : out.ranks.values()) ranks.insert(r);
    EXPECT_EQ(*ranks.rbegin(), kVocab) << impl->name;
    EXPECT_EQ(int64_t(ranks.size()), kVocab) << impl->name;
  }
}

TEST(TokenLogprobs, BadRowsSayNothing) {
  for (const double bad : {double(NAN), double(INFINITY), -double(INFINITY)})
    for (const int64_t at : {0, 63, 64, 4096, 5000}) {
      Storage logits(DType::kF32, {2, 5001});
      int64_t i = 0;
      logits.fill([&] { return i++ == 5001 + at ? bad : double(i % 7); });
      for (const auto* impl : forms()) {
        const Outputs out = run(*impl, logits, ints({3, 3}), ints({2, 2}), 2);
        EXPECT_EQ(out.ranks.values()[1], 0) << impl->name << " " << at;
        EXPECT_TRUE(std::isnan(out.logprobs.values()[1])) << impl->name << " " << at;
        EXPECT_EQ(out.best_ids.values()[2], -1) << impl->name << " " << at;
        EXPECT_TRUE(std::isnan(out.best_logprobs.values()[3])) << impl->name << " " << at;
        EXPECT_GT(out.ranks.values()[0], 0) << impl->name;
        EXPECT_GE(out.best_ids.values()[1], 0) << impl->name;
      }
    }
}

TEST(TokenLogprobs, ExtremesOfFiniteLogits) {
  Storage logits(DType::kF32, {2, 3});
  const double values[] = {-3e38, 3e38, 0};
  int i = 0;
  logits.fill([&] { return values[i++ % 3]; });
  for (const auto* impl : forms()) {
    const Outputs out = run(*impl, logits, ints({1, 2}), ints({3, 0}), 3);
    EXPECT_EQ(out.logprobs.values()[0], 0) << impl->name;
    EXPECT_NEAR(out.logprobs.values()[1] / -3e38, 1, 1e-6) << impl->name;
    EXPECT_EQ(out.best_ids.values()[2], 0) << impl->name;
  }
}

TEST(TokenLogprobs, SameBitsAloneAndInABatch) {
  Random random(3);
  constexpr int64_t kRows = 9, kVocab = 20000, kBest = 12;
  const Storage logits = random.normal(DType::kF32, {kRows, kVocab}, 2.0);
  const Storage ids = random_ints(random, kRows, -1, kVocab - 1), counts = random_ints(random, kRows, 0, kBest);
  for (const auto* impl : forms()) {
    const Outputs batch = run(*impl, logits, ids, counts, kBest);
    for (const int threads : {1, 7}) {
      const Outputs other = run(*impl, logits, ids, counts, kBest, threads);
      expect_same_bits(other.logprobs, batch.logprobs, impl->name);
      expect_same_bits(other.best_logprobs, batch.best_logprobs, impl->name);
      expect_same_bits(other.ranks, batch.ranks, impl->name);
      expect_same_bits(other.best_ids, batch.best_ids, impl->name);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const auto row = [&](const Storage& s) { return s.tensor().slice(0, r, r + 1); };
      const Outputs alone = run(*impl, row(logits), row(ids), row(counts), kBest);
      const auto same = [&](const Storage& one, const Storage& all) {
        const size_t width = one.values().size();
        for (size_t i = 0; i < width; ++i) {
          const double a = one.values()[i], b = all.values()[r * width + i];
          EXPECT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << impl->name << " row " << r;
        }
      };
      same(alone.logprobs, batch.logprobs), same(alone.ranks, batch.ranks);
      same(alone.best_ids, batch.best_ids), same(alone.best_logprobs, batch.best_logprobs);
    }
  }
}

// A vocabulary of today's models, from rows that are not aligned: random, all equal, and in rising order.
TEST(TokenLogprobs, AVocabularyOfAModel) {
  constexpr int64_t kVocab = 248320;
  Random random(4);
  Storage logits(DType::kF32, {3, kVocab}, kVocab + 1, 1);
  int64_t i = 0;
  logits.fill([&] { return i++ < kVocab ? random.normal(0, 2) : i <= 2 * kVocab ? -1.5 : 1e-4 * double(i); });
  const Storage ids = ints({12345, kVocab - 1, 7}), counts = ints({20, 20, 20});
  const Outputs want = run(reference(), logits, ids, counts, 20);
  for (const auto* impl : forms()) expect_same(run(*impl, logits, ids, counts, 20), want, impl->name);
}

// Where they cannot be seen ahead.
TEST(TokenLogprobs, BadIdsAndCountsOnAGpu) {
  if (!gpu_context()) GTEST_SKIP() << "there is no GPU here";
  Random random(5);
  const Storage logits = random.normal(DType::kF32, {4, 300});
  const Storage ids = ints({300, 1 << 30, -5, 2}), counts = ints({2, 9, -1, 3}), good = ints({-1, -1, -1, 2}),
                cut = ints({2, 4, 0, 3});
  const Outputs want = run(reference(), logits, good, cut, 4);
  for (const auto* impl : forms()) {
    if (!is_gpu(impl->isa)) continue;
    const Outputs got(4, 4);
    run_ok(*impl, TokenLogprobsArgs{.logits = logits,
                                    .ids = ids,
                                    .logprobs = got.logprobs,
                                    .ranks = got.ranks,
                                    .counts = counts,
                                    .best_ids = got.best_ids,
                                    .best_logprobs = got.best_logprobs});
    expect_same(got, want, impl->name);
  }
}

TEST(TokenLogprobs, RefusesBadArguments) {
  const Storage logits(DType::kF32, {2, 8}), empty(DType::kF32, {2, 0});
  const Outputs out(2, 3), wide(2, 21);
  const auto message = [&](const Storage& x, std::vector<int64_t> ids, std::vector<int64_t> counts, const Outputs& o) {
    const Storage i = ints(ids), c = ints(counts);
    return check_token_logprobs({.logits = x,
                                 .ids = i,
                                 .logprobs = o.logprobs,
                                 .ranks = o.ranks,
                                 .counts = c,
                                 .best_ids = o.best_ids,
                                 .best_logprobs = o.best_logprobs})
        .message();
  };
  EXPECT_EQ(message(logits, {7, -1}, {0, 3}, out), "");
  EXPECT_EQ(message(empty, {-1, -1}, {0, 0}, out), "token_logprobs: logits has no columns");
  EXPECT_EQ(message(logits, {0, 8}, {0, 0}, out), "token_logprobs: ids[1] is 8, wanted -1 to 7");
  EXPECT_EQ(message(logits, {-2, 0}, {0, 0}, out), "token_logprobs: ids[0] is -2, wanted -1 to 7");
  EXPECT_EQ(message(logits, {0, 0}, {4, 0}, out), "token_logprobs: counts[0] is 4, wanted 0 to 3");
  EXPECT_EQ(message(logits, {0, 0}, {0, -1}, out), "token_logprobs: counts[1] is -1, wanted 0 to 3");
  EXPECT_EQ(message(logits, {0, 0}, {0, 0}, wide), "token_logprobs: best_ids has more than 20 columns");
  EXPECT_EQ(check_token_logprobs({.logits = logits,
                                  .ids = out.ranks,
                                  .logprobs = out.logprobs,
                                  .ranks = out.ranks,
                                  .best_ids = out.best_ids,
                                  .best_logprobs = out.best_logprobs})
                .message(),
            "token_logprobs: counts is missing");
}

}  // namespace
}  // namespace sluice
