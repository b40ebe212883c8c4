// Step 1: what a request may ask of its logits before a token is drawn.
#include <limits>
#include <numeric>

#include "ops/sample/cases.h"
#include "ops/sample/sample.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Problem {
  Storage logits;
  std::vector<SamplingParams> params;
  std::vector<SampleRow> rows;
  int32_t first_position = 0;
  Problem(Storage logits, SamplingParams p, SampleRow row)
      : logits(std::move(logits)), params(this->logits.tensor().shape[0], p), rows(params.size(), row) {}
};

struct Answer {
  std::vector<double> ids, logprobs;
};

Answer run(const Impl<SampleArgs>& impl, const Problem& p, bool logprobs = true, int threads = 2) {
  const int64_t B = int64_t(p.params.size());
  Storage positions(DType::kI32, {B}), ids(DType::kI32, {B}), out(DType::kF32, {B});
  int32_t position = p.first_position;
  positions.fill([&] { return position++; });
  SampleArgs args{.logits = p.logits, .params = p.params, .rows = p.rows, .positions = positions, .ids = ids};
  if (logprobs) args.logprobs = out;
  EXPECT_TRUE(check_sample(args).ok()) << check_sample(args).message();
  run_ok(impl, args, threads);
  EXPECT_TRUE(ids.margins_intact() && out.margins_intact());
  return {ids.values(), out.values()};
}

const auto& reference() { return impl_named(sample_impls(), "reference"); }
std::vector<const Impl<SampleArgs>*> forms() { return runnable(sample_impls(), SampleArgs{}); }

void expect_as_reference(const Problem& p, const std::string& what) {
  const Answer want = run(reference(), p);
  for (const auto* impl : forms()) {
    const Answer got = run(*impl, p);
    EXPECT_EQ(got.ids, want.ids) << impl->name << " " << what;
    EXPECT_EQ(run(*impl, p, false, 1).ids, want.ids) << impl->name << " without logprobs, " << what;
    for (size_t i = 0; i < want.ids.size(); ++i) {
      const double g = got.logprobs[i], w = want.logprobs[i];
      EXPECT_TRUE(std::isnan(w) ? std::isnan(g) : std::abs(g - w) <= 1e-5 + 1e-6 * std::abs(w)) << impl->name << " " << what;
    }
  }
}

Storage logits_of(const std::vector<double>& row, int64_t rows = 1) {
  Storage s(DType::kF32, {rows, int64_t(row.size())});
  size_t i = 0;
  s.fill([&] { return row[i++ % row.size()]; });
  return s;
}

// The greedy token of one row, by every form alike.
int greedy(const std::vector<double>& row, const SampleRow& adjust, SamplingParams p = {}) {
  const Problem problem(logits_of(row), p, adjust);
  const int want = int(run(reference(), problem).ids[0]);
  for (const auto* impl : forms()) EXPECT_EQ(run(*impl, problem).ids[0], want) << impl->name;
  return want;
}

// Random lists of about `count` tokens of a row.
struct Lists {
  std::vector<TokenUse> used;
  std::vector<LogitBias> bias;
  std::vector<int32_t> banned, allowed;
  Lists(Random& random, int64_t V, int64_t count) {
    std::vector<int32_t> ids(V);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937_64(uint64_t(random.integer(0, 1 << 30))));
    count = std::min(count, V);
    for (int64_t i = 0; i < count; ++i) used.push_back({ids[i], random.integer(0, 1) == 0, int32_t(random.integer(0, 3))});
    for (int64_t i = 0; i < count; ++i) bias.push_back({ids[V - 1 - i], float(random.normal(0, 5))});
    for (int64_t i = 0; i < count; ++i) banned.push_back(ids[random.integer(0, V - 1)]);
    for (int64_t i = 0; i < count; ++i) allowed.push_back(ids[random.integer(0, V - 1)]);
  }
};

TEST(SampleAdjust, ChoosesAsTheReference) {
  Random random(11);
  for (const SampleCase& c : kSampleCases)
    for (const int64_t count : {1, 10, 700})
      for (SamplingParams p : kSampleParams) {
        p.seed = uint64_t(random.integer(0, std::numeric_limits<int64_t>::max()));
        p.repetition_penalty = 1.3f, p.presence_penalty = 0.4f, p.frequency_penalty = 0.2f;
        Problem problem(random.normal(DType::kF32, {c.rows, c.vocab}, 3.0, c.row_stride), p, {});
        const Lists l(random, c.vocab, count);
        // Every list alone, two together, and all.
        const SampleRow sets[] = {{.used = l.used},
                                  {.bias = l.bias},
                                  {.banned = l.banned},
                                  {.allowed = l.allowed},
                                  {.used = l.used, .banned = l.banned},
                                  {l.used, l.bias, l.banned, l.allowed},
                                  {}};
        for (size_t b = 0; b < problem.rows.size(); ++b) problem.rows[b] = sets[size_t(random.integer(0, 6))];
        expect_as_reference(problem, "vocab " + std::to_string(c.vocab) + " lists of " + std::to_string(count) + " top_k " +
                                         std::to_string(p.top_k) + " top_p " + std::to_string(p.top_p));
      }
}

TEST(SampleAdjust, RepetitionPenaltyDividesAndMultiplies) {
  const SamplingParams p{.repetition_penalty = 2};
  const TokenUse in_prompt[] = {{0, true, 0}}, in_answer[] = {{0, false, 1}}, nowhere[] = {{0, false, 0}}, third[] = {{2, true, 3}};
  EXPECT_EQ(greedy({3, 2, 1}, {.used = in_prompt}, p), 1);  // 3 / 2 < 2
  EXPECT_EQ(greedy({3, 1.4, 1}, {.used = in_prompt}, p), 0);
  EXPECT_EQ(greedy({3, 2, 1}, {.used = in_answer}, p), 1);
  EXPECT_EQ(greedy({3, 2, 1}, {.used = nowhere}, p), 0);
  EXPECT_EQ(greedy({-3, -1.5, -1}, {.used = third}, p), 1);  // -1 * 2
  EXPECT_EQ(greedy({-3, -1.5, -1}, {.used = third}, {.repetition_penalty = 0.5f}), 2);
  EXPECT_EQ(greedy({-3, -1.5, -2}, {.used = third}, {.repetition_penalty = 0.5f}), 2);  // a penalty below 1 helps
}

TEST(SampleAdjust, PresenceAndFrequencyCountTheAnswerOnly) {
  const TokenUse in_prompt[] = {{0, true, 0}}, once[] = {{0, true, 1}}, thrice[] = {{0, false, 3}};
  const SamplingParams presence{.presence_penalty = 0.5f}, frequency{.frequency_penalty = 0.5f};
  EXPECT_EQ(greedy({3, 2.6}, {.used = in_prompt}, presence), 0);
  EXPECT_EQ(greedy({3, 2.6}, {.used = once}, presence), 1);
  EXPECT_EQ(greedy({3, 2.4}, {.used = thrice}, presence), 0);  // once, however often
  EXPECT_EQ(greedy({3, 2.6}, {.used = in_prompt}, frequency), 0);
  EXPECT_EQ(greedy({3, 2.4}, {.used = once}, frequency), 0);
  EXPECT_EQ(greedy({3, 1.6}, {.used = thrice}, frequency), 1);  // 3 - 1.5
  EXPECT_EQ(greedy({3, 1.4}, {.used = thrice}, frequency), 0);
  EXPECT_EQ(greedy({2, 2.4}, {.used = once}, {.presence_penalty = -0.5f}), 0);
}

// A product is rounded before it is subtracted, so that a penalty ends at the same z everywhere: here at that of the next token, in
// every row.
TEST(SampleAdjust, PenaltiesAreRounded) {
  constexpr int64_t kRows = 200;
  Random random(15);
  const TokenUse used[] = {{0, false, 3}};
  Problem problem(Storage(DType::kF32, {kRows, 2}), {}, {.used = used});
  std::vector<double> logits;
  for (SamplingParams& p : problem.params) {
    const float z = float(random.uniform(1, 2));
    p.frequency_penalty = float(random.uniform(0, 1));
    const volatile float product = p.frequency_penalty * 3;
    logits.insert(logits.end(), {z, z - product});
  }
  size_t i = 0;
  problem.logits.fill([&] { return logits[i++]; });
  for (const auto* impl : forms()) EXPECT_EQ(run(*impl, problem).ids, std::vector<double>(kRows, 0)) << impl->name;
}

// Bias comes before the repetition penalty, that before the other two.
TEST(SampleAdjust, Order) {
  const TokenUse used[] = {{0, true, 1}};
  const LogitBias bias[] = {{0, 2}}, down[] = {{0, -1}};
  EXPECT_EQ(greedy({2, 1.9}, {.used = used}, {.repetition_penalty = 2}), 1);
  EXPECT_EQ(greedy({2, 2.5}, {.used = used, .bias = bias}, {.repetition_penalty = 2}), 1);            // (2 + 2) / 2; not 2 / 2 + 2
  EXPECT_EQ(greedy({0.5, -0.9}, {.used = used, .bias = down}, {.repetition_penalty = 2}), 1);         // (0.5 - 1) * 2
  EXPECT_EQ(greedy({2, -1.5}, {.used = used}, {.repetition_penalty = 2, .presence_penalty = 2}), 0);  // 2 / 2 - 2 = -1
  EXPECT_EQ(greedy({2, -0.5}, {.used = used}, {.repetition_penalty = 2, .presence_penalty = 2}), 1);  // not (2 - 2) * 2 = 0
}

TEST(SampleAdjust, BiasBannedAndAllowed) {
  const LogitBias up[] = {{2, 100}}, down[] = {{0, -100}};
  const int32_t zero[] = {0}, twice[] = {0, 0}, last_two[] = {2, 1}, two[] = {2};
  EXPECT_EQ(greedy({3, 2, 1}, {.bias = up}), 2);
  EXPECT_EQ(greedy({3, 2, 1}, {.bias = down}), 1);
  EXPECT_EQ(greedy({3, 2, 1}, {.banned = zero}), 1);
  EXPECT_EQ(greedy({3, 2, 1}, {.banned = twice}), 1);
  EXPECT_EQ(greedy({3, 2, 1}, {.allowed = last_two}), 1);
  EXPECT_EQ(greedy({3, 2, 1}, {.allowed = twice}), 0);
  EXPECT_EQ(greedy({3, 2, 1}, {.bias = up, .banned = two}), 0);    // a bias does not bring a banned token back
  EXPECT_EQ(greedy({3, 2, 1}, {.bias = up, .allowed = zero}), 0);  // nor one that is not allowed
  EXPECT_EQ(greedy({3, 2, 1}, {.bias = up, .banned = zero, .allowed = zero}), kSampleNothingLeft);
  EXPECT_EQ(greedy({3, 2, 1}, {.banned = two, .allowed = last_two}), 1);
}

// With every filter: 1 token left, its position anywhere in the row; and none.
TEST(SampleAdjust, OneLeftAndNoneLeft) {
  for (const int64_t V : {1, 63, 64, 65, 4097})
    for (SamplingParams p : kSampleParams) {
      Random random(12);
      std::vector<int32_t> all(V), but_one;
      std::iota(all.begin(), all.end(), 0);
      const int32_t one = int32_t(random.integer(0, V - 1));
      for (const int32_t id : all)
        if (id != one) but_one.push_back(id);
      const int32_t only[] = {one};
      Problem problem(random.normal(DType::kF32, {4, V}), p, {});
      problem.rows = {{.banned = but_one}, {.banned = all}, {.allowed = only}, {.banned = only, .allowed = only}};
      for (const auto* impl : forms()) {
        const Answer got = run(*impl, problem);
        const double nothing = kSampleNothingLeft;
        EXPECT_EQ(got.ids, (std::vector<double>{double(one), nothing, double(one), nothing})) << impl->name << " " << V;
        EXPECT_TRUE(std::isnan(got.logprobs[1]) && std::isnan(got.logprobs[3])) << impl->name;
        EXPECT_LE(got.logprobs[0], 0) << impl->name;
      }
      expect_as_reference(problem, "one left of " + std::to_string(V));
    }
}

// A model's NaN is reported even where that token is banned: the row cannot be trusted.
TEST(SampleAdjust, BadLogitsAreReportedFirst) {
  const int32_t banned[] = {1}, all[] = {0, 1, 2};
  for (const double bad : {double(NAN), double(INFINITY), -double(INFINITY)})
    for (const auto* impl : forms())
      for (const SampleRow& row : {SampleRow{.banned = banned}, SampleRow{.banned = all}})
        EXPECT_EQ(run(*impl, Problem(logits_of({1, bad, 0}), {}, row)).ids[0], kSampleNotFinite) << impl->name;
}

// Sums beyond fp32's range stop at its end: the token stays drawable, the others' weights stay numbers.
TEST(SampleAdjust, NothingOverflows) {
  const LogitBias far[] = {{1, 3e38f}, {0, -3e38f}};
  const TokenUse used[] = {{1, true, 2}, {0, true, 0}, {2, true, 0}};
  for (SamplingParams p : kSampleParams) {
    p.repetition_penalty = 1e-3f, p.frequency_penalty = -3e38f;
    const Problem problem(logits_of({-3e38, 3e38, 1}), p, {.used = used, .bias = far});
    expect_as_reference(problem, "far");
    for (const auto* impl : forms()) EXPECT_EQ(run(*impl, problem).ids[0], 1) << impl->name;
  }
}

// The draw follows the adjusted distribution: chi-square of 40000 draws over 70 tokens, two of them banned; below 119 in all but
// one of ten thousand seeds (67 degrees of freedom).
TEST(SampleAdjust, DrawsFromTheAdjustedDistribution) {
  constexpr int64_t kDraws = 40000, kVocab = 70;
  std::vector<double> x(kVocab);
  for (int64_t v = 0; v < kVocab; ++v) x[v] = 0.02 * double(v * 37 % kVocab) - 0.7;
  const TokenUse used[] = {{3, true, 0}, {64, false, 2}, {10, true, 5}};
  const LogitBias bias[] = {{20, 1.5f}, {69, -0.5f}};
  const int32_t banned[] = {0, 65};
  const SamplingParams p{
      .temperature = 0.9f, .seed = 777, .repetition_penalty = 1.5f, .presence_penalty = 0.3f, .frequency_penalty = 0.1f};
  std::vector<double> z = x;
  z[20] += 1.5, z[69] -= 0.5;
  for (const TokenUse& use : used) {
    z[use.id] = z[use.id] > 0 ? z[use.id] / 1.5 : z[use.id] * 1.5;
    z[use.id] -= 0.1 * use.out_count + (use.out_count > 0 ? 0.3 : 0);
  }
  for (const int32_t id : banned) z[id] = -INFINITY;
  double total = 0;
  for (double& v : z) total += v = std::exp(v / 0.9);
  const Problem problem(logits_of(x, kDraws), p, {.used = used, .bias = bias, .banned = banned});
  for (const auto* impl : forms()) {
    std::vector<double> count(kVocab);
    for (const double id : run(*impl, problem).ids) ++count[size_t(id)];
    double chi2 = 0;
    for (int64_t v = 0; v < kVocab; ++v) {
      const double e = z[v] / total * kDraws;
      if (e == 0) EXPECT_EQ(count[v], 0) << impl->name;
      else chi2 += (count[v] - e) * (count[v] - e) / e;
    }
    EXPECT_LT(chi2, 119) << impl->name;
    EXPECT_GT(chi2, 30) << impl->name << ": too even for draws";  // below in one of twenty thousand
  }
}

TEST(SampleAdjust, LogprobsAreTheModelsOwn) {
  const int32_t banned[] = {0};
  const LogitBias bias[] = {{1, 50}};
  for (const auto* impl : forms()) {
    const Answer a = run(*impl, Problem(logits_of({2, 1, 0}), {.temperature = 0.3f, .top_k = 1}, {.bias = bias, .banned = banned}));
    EXPECT_EQ(a.ids[0], 1) << impl->name;
    EXPECT_NEAR(a.logprobs[0], 1 - std::log(std::exp(2) + std::exp(1) + 1), 1e-5) << impl->name;
  }
}

// A batch of rows with lists of their own: each row as alone, whatever its neighbours ask, with one, two and five threads.
TEST(SampleAdjust, SameChoiceAloneAndInABatch) {
  Random random(13);
  constexpr int64_t kRows = 11, kVocab = 20001;
  Problem batch(random.normal(DType::kF32, {kRows, kVocab}, 2.0), {}, {});
  std::vector<Lists> lists;
  for (int64_t b = 0; b < kRows; ++b) lists.emplace_back(random, kVocab, b == 3 ? 0 : 1 + 70 * b);
  for (int64_t b = 0; b < kRows; ++b) {
    const Lists& l = lists[b];
    batch.params[b] = kSampleParams[b], batch.params[b].seed = 99 + b, batch.params[b].repetition_penalty = 1.2f;
    batch.rows[b] = {l.used, l.bias, l.banned, b % 2 ? std::span<const int32_t>{} : l.allowed};
  }
  for (const auto* impl : forms()) {
    const Answer together = run(*impl, batch);
    for (const int threads : {1, 5, 40}) {
      const Answer other = run(*impl, batch, true, threads);
      EXPECT_EQ(other.ids, together.ids) << impl->name << " " << threads;
      EXPECT_EQ(other.logprobs, together.logprobs) << impl->name << " " << threads;
    }
    for (int64_t b = 0; b < kRows; ++b) {
      std::vector<double> x = batch.logits.values();
      Problem alone(logits_of({x.begin() + b * kVocab, x.begin() + (b + 1) * kVocab}), batch.params[b], batch.rows[b]);
      alone.first_position = int32_t(b);
      const Answer a = run(*impl, alone);
      EXPECT_EQ(a.ids[0], together.ids[b]) << impl->name << " row " << b;
      EXPECT_EQ(a.logprobs[0], together.logprobs[b]) << impl->name << " row " << b;
    }
  }
}

TEST(SampleAdjust, LogitsStayAsTheyAre) {
  Random random(14);
  const Lists l(random, 300, 50);
  const Problem p(random.normal(DType::kF32, {3, 300}), {.repetition_penalty = 1.5f}, {l.used, l.bias, l.banned, {}});
  const std::vector<std::byte> before = p.logits.bytes();
  for (const auto* impl : forms()) {
    run(*impl, p);
    EXPECT_EQ(p.logits.bytes(), before) << impl->name;
  }
}

TEST(SampleAdjust, RefusesBadLists) {
  const Storage logits(DType::kF32, {1, 8}), position = ints({0}), ids(DType::kI32, {1});
  const SamplingParams params[1];
  const auto message = [&](std::vector<SampleRow> rows) {
    return check_sample({.logits = logits, .params = params, .rows = rows, .positions = position, .ids = ids}).message();
  };
  const TokenUse used[] = {{8, true, 0}};
  const LogitBias bias[] = {{-1, 0}}, infinite[] = {{2, -INFINITY}};
  const int32_t outside[] = {3, 9};
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({{}}), "");
  EXPECT_EQ(message({{}, {}}), "sample: rows must be left out or have one entry for each row of logits");
  EXPECT_EQ(message({{.used = used}}), "sample: row 0: used has token 8, wanted 0 to 7");
  EXPECT_EQ(message({{.bias = bias}}), "sample: row 0: bias has token -1, wanted 0 to 7");
  EXPECT_EQ(message({{.banned = outside}}), "sample: row 0: banned has token 9, wanted 0 to 7");
  EXPECT_EQ(message({{.allowed = outside}}), "sample: row 0: allowed has token 9, wanted 0 to 7");
  EXPECT_EQ(message({{.bias = infinite}}), "sample: row 0: bias of token 2 is not finite");
}

}  // namespace
}  // namespace sluice
