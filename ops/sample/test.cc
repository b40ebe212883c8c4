#include <functional>
#include <limits>

#include "ops/sample/cases.h"
#include "ops/sample/exp64.h"
#include "ops/sample/philox.h"
#include "ops/sample/sample.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Outputs {
  Storage ids, logprobs;
  explicit Outputs(int64_t rows) : ids(DType::kI32, {rows}), logprobs(DType::kF32, {rows}) {}
};

Storage count_up(int64_t rows, int64_t from = 0) {
  Storage s(DType::kI32, {rows});
  s.fill([&] { return from++; });
  return s;
}

Outputs run(const Impl<SampleArgs>& impl, const Tensor& logits, std::span<const SamplingParams> params, const Storage& positions,
            int threads = 2, std::span<const SampleRow> rows = {}) {
  Outputs out(logits.shape[0]);
  const SampleArgs args{
      .logits = logits, .params = params, .rows = rows, .positions = positions, .ids = out.ids, .logprobs = out.logprobs};
  EXPECT_TRUE(check_sample(args).ok()) << check_sample(args).message();
  run_ok(impl, args, threads);
  return out;
}

// Equal ids, and log-probabilities within the contract's limit; NaN only together.
void expect_same_choice(const Outputs& got, const Outputs& want, const std::string& what) {
  EXPECT_EQ(got.ids.values(), want.ids.values()) << what;
  const std::vector<double> g = got.logprobs.values(), w = want.logprobs.values();
  for (size_t i = 0; i < w.size(); ++i)
    EXPECT_TRUE(std::isnan(w[i]) ? std::isnan(g[i]) : std::abs(g[i] - w[i]) <= 1e-5 + 1e-6 * std::abs(w[i])) << what;
  EXPECT_TRUE(got.ids.margins_intact() && got.logprobs.margins_intact()) << what;
}

TEST(Sample, ChoosesAsTheReference) {
  Random random(1);
  const auto& reference = impl_named(sample_impls(), "reference");
  for (const SampleCase& c : kSampleCases)
    for (SamplingParams p : kSampleParams)
      for (const double stddev : {0.1, 3.0}) {
        const Storage logits = random.normal(DType::kF32, {c.rows, c.vocab}, stddev, c.row_stride);
        p.seed = uint64_t(random.integer(0, std::numeric_limits<int64_t>::max()));
        const std::vector<SamplingParams> params(c.rows, p);
        const Storage positions = count_up(c.rows);
        const Outputs want = run(reference, logits, params, positions);
        for (const auto* impl : runnable(sample_impls(), SampleArgs{}))
          expect_same_choice(run(*impl, logits, params, positions), want,
                             std::string(impl->name) + " vocab " + std::to_string(c.vocab) + " top_k " + std::to_string(p.top_k) +
                                 " top_p " + std::to_string(p.top_p) + " min_p " + std::to_string(p.min_p));
      }
}

// Logits of few values, so that every filter cuts through equal ones: ids decide.
TEST(Sample, TiesGoToTheLowestId) {
  Random random(2);
  const auto& reference = impl_named(sample_impls(), "reference");
  for (const int64_t levels : {0, 1, 3})
    for (const SamplingParams& p : kSampleParams) {
      Storage logits(DType::kF32, {40, 300});
      logits.fill([&] { return double(random.integer(-levels, 0)); });
      const std::vector<SamplingParams> params(40, p);
      const Storage positions = count_up(40);
      const Outputs want = run(reference, logits, params, positions);
      for (const auto* impl : runnable(sample_impls(), SampleArgs{}))
        expect_same_choice(run(*impl, logits, params, positions), want, impl->name);
    }
  Storage equal(DType::kF32, {1, 100});
  equal.fill([] { return -2.0; });
  const std::vector<SamplingParams> greedy(1), one{{.temperature = 1, .top_k = 1}};
  for (const auto* impl : runnable(sample_impls(), SampleArgs{})) {
    EXPECT_EQ(run(*impl, equal, greedy, count_up(1)).ids.values()[0], 0) << impl->name;
    EXPECT_EQ(run(*impl, equal, one, count_up(1)).ids.values()[0], 0) << impl->name;
    EXPECT_NEAR(run(*impl, equal, greedy, count_up(1)).logprobs.values()[0], -std::log(100.0), 1e-5) << impl->name;
  }
}

// Chi-square of 40000 draws over 10 tokens: below 33.7 in all but one of ten thousand seeds (9 degrees of freedom).
TEST(Sample, DrawsWithTheRightProbabilities) {
  constexpr int64_t kDraws = 40000, kVocab = 10;
  constexpr double kLimit = 33.7, kTemperature = 0.8;
  Storage logits(DType::kF32, {kDraws, kVocab});
  int64_t i = 0;
  logits.fill([&] { return 0.3 * double((i++ % kVocab) * 7 % 10); });
  double total = 0;
  std::vector<double> expected(kVocab);
  for (int64_t v = 0; v < kVocab; ++v) total += expected[v] = std::exp(logits.values()[v] / kTemperature);
  const std::vector<SamplingParams> params(kDraws, {.temperature = float(kTemperature), .seed = 12345});
  for (const auto* impl : runnable(sample_impls(), SampleArgs{})) {
    std::vector<double> count(kVocab);
    for (const double id : run(*impl, logits, params, count_up(kDraws)).ids.values()) ++count[size_t(id)];
    double chi2 = 0;
    for (int64_t v = 0; v < kVocab; ++v) {
      const double e = expected[v] / total * kDraws;
      chi2 += (count[v] - e) * (count[v] - e) / e;
    }
    EXPECT_LT(chi2, kLimit) << impl->name;
  }
}

// By hand: probabilities 0.5, 0.3, 0.15, 0.05. Which tokens can come out under each filter.
TEST(Sample, FiltersKeepTheRightTokens) {
  const double probability[] = {0.15, 0.5, 0.05, 0.3};
  Storage logits(DType::kF32, {2000, 4});
  int64_t i = 0;
  logits.fill([&] { return std::log(probability[i++ % 4]); });
  const auto kept = [&](const Impl<SampleArgs>& impl, const SamplingParams& p) {
    std::set<int> ids;
    for (const double id : run(impl, logits, std::vector<SamplingParams>(2000, p), count_up(2000)).ids.values())
      ids.insert(int(id));
    return ids;
  };
  using Ids = std::set<int>;
  for (const auto* impl : runnable(sample_impls(), SampleArgs{})) {
    EXPECT_EQ(kept(*impl, {.temperature = 1}), (Ids{0, 1, 2, 3})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .top_k = 2}), (Ids{1, 3})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .top_p = 0.45f}), (Ids{1})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .top_p = 0.75f}), (Ids{1, 3})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .top_p = 0.81f}), (Ids{0, 1, 3})) << impl->name;
    // After top_k 2 the best has 0.5 / 0.8 = 0.625 of what is left.
    EXPECT_EQ(kept(*impl, {.temperature = 1, .top_k = 2, .top_p = 0.6f}), (Ids{1})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .min_p = 0.2f}), (Ids{0, 1, 3})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .min_p = 1}), (Ids{1})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .top_p = 0.99f, .min_p = 0.35f}), (Ids{1, 3})) << impl->name;
    EXPECT_EQ(kept(*impl, {.temperature = 1, .top_k = 3, .min_p = 0.35f}), (Ids{1, 3})) << impl->name;
  }
}

// Rows of n logits in which a cut may go wrong.
struct TopPRow {
  const char* name;
  std::function<std::vector<double>(Random&, int64_t n)> make;
};

std::vector<double> normal_row(Random& random, int64_t n, double deviation) {
  std::vector<double> z(n);
  for (double& x : z) x = random.normal(0, deviation);
  return z;
}

// In each group of 64 the largest stand at one place, the others behind it in order, so that a look at a few tokens of each group
// sees only large ones, or only small ones.
std::vector<double> sorted_in_groups(Random& random, int64_t n, int64_t place) {
  std::vector<double> z = normal_row(random, n, 2);
  for (int64_t g = 0; g + 64 <= n; g += 64) {
    const auto begin = z.begin() + g, end = begin + 64;
    std::sort(begin, end, std::greater());
    std::rotate(begin, end - (g / 64 * 20 + place) % 64, end);
  }
  return z;
}

std::vector<TopPRow> top_p_rows() {
  std::vector<TopPRow> rows{{"nearly flat", [](Random& r, int64_t n) { return normal_row(r, n, 0.1); }},
                            {"normal", [](Random& r, int64_t n) { return normal_row(r, n, 2); }},
                            {"steep", [](Random& r, int64_t n) { return normal_row(r, n, 5); }},
                            {"equal", [](Random&, int64_t n) { return std::vector<double>(n, -3.0); }},
                            {"three values",
                             [](Random& r, int64_t n) {
                               std::vector<double> z(n);
                               for (double& x : z) x = double(r.integer(-2, 0));
                               return z;
                             }},
                            {"rounded",
                             [](Random& r, int64_t n) {
                               std::vector<double> z = normal_row(r, n, 2);
                               for (double& x : z) x = std::round(x * 16) / 16;
                               return z;
                             }},
                            {"ascending",
                             [](Random& r, int64_t n) {
                               std::vector<double> z = normal_row(r, n, 2);
                               std::sort(z.begin(), z.end());
                               return z;
                             }},
                            {"a few far above, side by side",
                             [](Random& r, int64_t n) {
                               std::vector<double> z = normal_row(r, n, 1);
                               for (int64_t i = n / 2; i < std::min(n, n / 2 + 10); ++i) z[i] = 12 - 0.3 * double(i - n / 2);
                               return z;
                             }},
                            {"two far apart", [](Random&, int64_t n) {
                               std::vector<double> z(n, -1e30);
                               z[n / 3] = z[n - 1] = 1e30;
                               return z;
                             }}};
  for (const int64_t place : {0, 16, 32, 48})
    rows.push_back({"sorted in groups", [=](Random& r, int64_t n) { return sorted_in_groups(r, n, place); }});
  return rows;
}

// A token more or less among those that are kept moves about every second draw. The border may be at the first token, at the last,
// or among equal ones.
TEST(Sample, TopPCutsAnyRow) {
  std::vector<SamplingParams> params;
  for (const float top_p : {1e-30f, 0.1f, 0.5f, 0.95f, 0.999f, std::nextafter(1.0f, 0.0f), 1.0f})
    for (const float temperature : {0.02f, 1.0f, 40.0f}) params.push_back({.temperature = temperature, .top_p = top_p});
  params.push_back({.temperature = 1, .top_p = 0.9f, .min_p = 0.01f});
  params.push_back({.temperature = 1, .top_p = 0.9f, .min_p = 1e-5f});
  params.push_back({.temperature = 40, .top_k = 3000});
  params.push_back({.temperature = 40, .top_k = 3000, .top_p = 0.9f});
  params.push_back({.temperature = 1, .top_k = 6000, .top_p = 0.9f});
  params.push_back({.temperature = 0.02f, .top_k = 5000, .top_p = 0.9f, .min_p = 0.01f});
  const int64_t B = int64_t(params.size());
  for (int64_t b = 0; b < B; ++b) params[b].seed = 7 * b;
  Random random(6);
  for (const int64_t V : {1, 63, 64, 65, 8000}) {
    std::vector<int32_t> banned;  // a whole group, the row's end, and half of the others
    for (int32_t id = 0; id < V; ++id)
      if (id / 64 == 2 || id > V - 30 || random.integer(0, 1)) banned.push_back(id);
    const std::vector<SampleRow> bans(B, SampleRow{.banned = banned});
    for (const TopPRow& row : top_p_rows()) {
      const std::vector<double> z = row.make(random, V);
      Storage logits(DType::kF32, {B, V});
      int64_t i = 0;
      logits.fill([&] { return z[i++ % V]; });
      const Storage positions = count_up(B, V);
      for (const std::span<const SampleRow> rows : {std::span<const SampleRow>(), std::span<const SampleRow>(bans)}) {
        const Outputs want = run(impl_named(sample_impls(), "reference"), logits, params, positions, 2, rows);
        for (const auto* impl : runnable(sample_impls(), SampleArgs{}))
          expect_same_choice(
              run(*impl, logits, params, positions, 1, rows), want,
              std::string(impl->name) + ", " + row.name + ", V " + std::to_string(V) + (rows.empty() ? "" : ", bans"));
      }
    }
  }
}

// One token far above thousands of nearly equal ones, so that top_p, or a top_k that is no short list, cuts among those.
TEST(Sample, CutsFarBelowTheBest) {
  constexpr int64_t kRows = 20, kVocab = 12300;
  constexpr uint64_t kSeed = 5;
  Random random(5);
  int32_t next = -1;
  Storage positions(DType::kI32, {kRows});  // where the draw falls on the far ones, which have a thirtieth of the weight or more
  positions.fill([&] {
    while (sample_uniform(kSeed, ++next) < 0.98) continue;
    return next;
  });
  Storage logits(DType::kF32, {kRows, kVocab});
  int64_t i = 0;
  logits.fill([&] { return i++ % kVocab == 7000 ? 12.2 : random.normal(0, 1e-3); });
  for (const SamplingParams& p : {SamplingParams{.temperature = 1, .top_p = 0.97f, .seed = kSeed},
                                  SamplingParams{.temperature = 1, .top_k = 9000, .seed = kSeed},
                                  SamplingParams{.temperature = 1, .top_k = 9000, .top_p = 0.99f, .min_p = 5e-6f, .seed = kSeed}}) {
    const std::vector<SamplingParams> params(kRows, p);
    const Outputs want = run(impl_named(sample_impls(), "reference"), logits, params, positions);
    std::set<double> drawn;
    for (const double id : want.ids.values()) drawn.insert(id);
    EXPECT_GT(drawn.size(), kRows / 2) << "the case draws no far tokens";
    for (const auto* impl : runnable(sample_impls(), SampleArgs{}))
      expect_same_choice(run(*impl, logits, params, positions), want, impl->name);
  }
}

// More equal tokens than any form keeps in a list, with few others around them: the cut goes by id alone.
TEST(Sample, TiesOfALargeVocabulary) {
  constexpr int64_t kRows = 6, kVocab = 20000;
  Random random(6);
  for (const int64_t levels : {0, 1, 2})
    for (const SamplingParams& p :
         {SamplingParams{.temperature = 1, .top_p = 0.4f}, SamplingParams{.temperature = 1, .top_k = 9000},
          SamplingParams{.temperature = 1, .top_k = 30}, SamplingParams{.temperature = 1, .top_k = 70},
          SamplingParams{.temperature = 0.5f, .top_k = 15000, .top_p = 0.7f, .min_p = 0.1f}}) {
      Storage logits(DType::kF32, {kRows, kVocab});
      logits.fill([&] { return double(random.integer(-levels, 0)); });
      const std::vector<SamplingParams> params(kRows, p);
      const Storage positions = count_up(kRows);
      const Outputs want = run(impl_named(sample_impls(), "reference"), logits, params, positions);
      for (const auto* impl : runnable(sample_impls(), SampleArgs{}))
        expect_same_choice(run(*impl, logits, params, positions), want, impl->name);
    }
}

// A cut among values that are neighbours in fp32, many of each.
TEST(Sample, CutsBetweenNeighbours) {
  constexpr int64_t kRows = 6, kVocab = 30000;
  Random random(7);
  for (const double step : {0x1p-23, 0x1p-18})
    for (const SamplingParams& p :
         {SamplingParams{.temperature = 1, .top_p = 0.3f}, SamplingParams{.temperature = 1, .top_k = 12345},
          SamplingParams{.temperature = 2, .top_k = 20000, .top_p = 0.9f}}) {
      Storage logits(DType::kF32, {kRows, kVocab});
      logits.fill([&] { return 1 + step * double(random.integer(0, 4)); });
      const std::vector<SamplingParams> params(kRows, p);
      const Storage positions = count_up(kRows);
      const Outputs want = run(impl_named(sample_impls(), "reference"), logits, params, positions);
      for (const auto* impl : runnable(sample_impls(), SampleArgs{}))
        expect_same_choice(run(*impl, logits, params, positions), want, impl->name);
    }
}

// A vocabulary of today's models, from a row that is not aligned.
TEST(Sample, AVocabularyOfAModel) {
  constexpr int64_t kVocab = 248320;
  Random random(8);
  const Storage logits = random.normal(DType::kF32, {1, kVocab}, 2.5, 0, 1);
  const Storage positions = count_up(1);
  for (const size_t i : {1, 3, 5, 10}) {
    std::vector<SamplingParams> params{kSampleParams[i]};
    params[0].seed = 31;
    const Outputs want = run(impl_named(sample_impls(), "reference"), logits, params, positions);
    for (const auto* impl : runnable(sample_impls(), SampleArgs{}))
      expect_same_choice(run(*impl, logits, params, positions), want, impl->name);
  }
}

TEST(Sample, BadLogitsAreReported) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const double bad : {double(NAN), inf, -inf})
    for (const int64_t at : {0, 63, 64, 4096, 5000}) {
      Storage logits(DType::kF32, {2, 5001});
      int64_t i = 0;
      logits.fill([&] { return i++ == 5001 + at ? bad : 1.0; });
      for (const SamplingParams& p : {SamplingParams{}, SamplingParams{.temperature = 1, .top_k = 5}})
        for (const auto* impl : runnable(sample_impls(), SampleArgs{})) {
          const Outputs out = run(*impl, logits, std::vector<SamplingParams>(2, p), count_up(2));
          EXPECT_GE(out.ids.values()[0], 0) << impl->name;
          EXPECT_EQ(out.ids.values()[1], kSampleNotFinite) << impl->name << " " << at;
          EXPECT_TRUE(std::isnan(out.logprobs.values()[1])) << impl->name << " " << at;
        }
    }
}

TEST(Sample, ExtremesOfFiniteLogits) {
  Storage logits(DType::kF32, {1, 3});
  const double values[] = {-3e38, 3e38, 0};
  int i = 0;
  logits.fill([&] { return values[i++]; });
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (const SamplingParams& p : {SamplingParams{}, SamplingParams{.temperature = 1}, SamplingParams{.temperature = tiny}})
    for (const auto* impl : runnable(sample_impls(), SampleArgs{})) {
      const Outputs out = run(*impl, logits, std::vector<SamplingParams>{p}, count_up(1));
      EXPECT_EQ(out.ids.values()[0], 1) << impl->name;
      EXPECT_EQ(out.logprobs.values()[0], 0) << impl->name;
    }
}

// Rows of a large vocabulary, flat enough that draws reach far down, alone and in a batch, with one and two threads.
TEST(Sample, SameChoiceAloneAndInABatch) {
  Random random(3);
  constexpr int64_t kRows = 11, kVocab = 40000;
  const Storage logits = random.normal(DType::kF32, {kRows, kVocab}, 1.0);
  std::vector<SamplingParams> params;
  for (int64_t b = 0; b < kRows; ++b) params.push_back(kSampleParams[b]), params.back().seed = 99 + b;
  const Storage positions = count_up(kRows, 1000);
  const Outputs want = run(impl_named(sample_impls(), "reference"), logits, params, positions);
  for (const auto* impl : runnable(sample_impls(), SampleArgs{})) {
    const Outputs batch = run(*impl, logits, params, positions), one_thread = run(*impl, logits, params, positions, 1);
    expect_same_choice(batch, want, impl->name);
    expect_same_bits(batch.ids, one_thread.ids, impl->name);
    expect_same_bits(batch.logprobs, one_thread.logprobs, impl->name);
    for (int64_t b = 0; b < kRows; ++b) {
      const Outputs alone = run(*impl, logits.tensor().slice(0, b, b + 1), std::span(params).subspan(b, 1), count_up(1, 1000 + b));
      EXPECT_EQ(alone.ids.values()[0], batch.ids.values()[b]) << impl->name;
      EXPECT_EQ(alone.logprobs.values()[0], batch.logprobs.values()[b]) << impl->name;
    }
  }
}

// Known answers of the authors' own test (Random123, kat_vectors).
TEST(Sample, Philox) {
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  EXPECT_NE(sample_uniform(1, 5), sample_uniform(1ull << 32 | 1, 5));
  EXPECT_NE(sample_uniform(1, 5), sample_uniform(1, 6));
}

TEST(Sample, Exp64) {
  Random random(4);
  for (int i = 0; i < 200000; ++i) {
    const double x = -random.uniform(0, i % 2 ? 1 : 708), want = std::exp(x);
    ASSERT_NEAR(exp64(Double8{} + x)[5] / want, 1, 1e-15) << x;
  }
  EXPECT_EQ(exp64(Double8{})[0], 1);
  EXPECT_EQ(exp64(Double8{} - 709.0)[0], 0);
  EXPECT_EQ(exp64(Double8{} - 1e300)[0], 0);
  EXPECT_EQ(exp64(Double8{} - std::numeric_limits<double>::infinity())[0], 0);
  EXPECT_EQ(exp64(Double8{} + std::numeric_limits<double>::quiet_NaN())[0], 0);
}

TEST(Sample, RefusesBadArguments) {
  const Storage logits(DType::kF32, {1, 8}), empty(DType::kF32, {1, 0}), position = ints({0});
  const Outputs out(1);
  const auto message = [&](const Storage& x, std::vector<SamplingParams> params) {
    return check_sample({.logits = x, .params = params, .positions = position, .ids = out.ids, .logprobs = out.logprobs}).message();
  };
  EXPECT_EQ(message(logits, {{}}), "");
  EXPECT_EQ(message(logits, {}), "sample: params must have one entry for each row of logits");
  EXPECT_EQ(message(empty, {{}}), "sample: logits has no columns");
  EXPECT_EQ(message(logits, {{.temperature = -1}}), "sample: row 0: temperature is -1.000000, wanted 0 or more");
  EXPECT_EQ(message(logits, {{.temperature = NAN}}), "sample: row 0: temperature is nan, wanted 0 or more");
  EXPECT_EQ(message(logits, {{.top_k = -1}}), "sample: row 0: top_k is -1.000000, wanted 0 (all) or more");
  EXPECT_EQ(message(logits, {{.top_p = 0}}), "sample: row 0: top_p is 0.000000, wanted more than 0, at most 1");
  EXPECT_EQ(message(logits, {{.min_p = 1.5f}}), "sample: row 0: min_p is 1.500000, wanted 0 to 1");
  EXPECT_EQ(message(logits, {{.repetition_penalty = 0}}), "sample: row 0: repetition_penalty is 0.000000, wanted more than 0");
  EXPECT_EQ(message(logits, {{.presence_penalty = NAN}}), "sample: row 0: presence_penalty is nan, wanted a finite number");
  EXPECT_EQ(message(logits, {{.frequency_penalty = INFINITY}}), "sample: row 0: frequency_penalty is inf, wanted a finite number");
}

}  // namespace
}  // namespace sluice
