// Every length round two chunks, keys and gates at their extremes, checkpoints.
#include "ops/gdn_prefill/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// Lengths 1 to 130 and some of 0 in between, from starts all over the chunk.
GdnPrefillCase all_lengths(int64_t HK, int64_t HV, int64_t K, int64_t V) {
  GdnPrefillCase c{HK, HV, K, V, {}, {}};
  for (int64_t n = 0; n < 143; ++n) {
    c.lengths.push_back(n % 11 == 0 ? 0 : n - n / 11);
    c.starts.push_back(n % 3 == 0 ? 0 : 37 * n % 257);
  }
  return c;
}

TEST(GdnPrefillEdges, EveryLengthFromAnyStart) {
  GdnPrefillProblem(all_lengths(1, 1, 64, 64), {.in = DType::kBF16, .out = DType::kBF16, .temper = Temper::kStrong}, 2)
      .expect_forms_match();
  GdnPrefillProblem(all_lengths(1, 2, 32, 48), {}, 3).expect_forms_match();
  if (gpu_context()) GdnPrefillProblem(all_lengths(1, 1, 128, 128), {.in = DType::kBF16}, 1).expect_forms_match();
}

TEST(GdnPrefillEdges, EveryLengthAtEveryCapacity) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows";
  for (const int64_t R : {16, 32}) {
    GdnPrefillProblem(all_lengths(1, 1, 128, 128), {.in = DType::kBF16, .R = R}, 4 + R).expect_forms_match();
    GdnPrefillProblem(all_lengths(1, 1, 64, 32), {.R = R, .temper = Temper::kStrong}, 5 + R).expect_forms_match();
  }
}

enum class Keys { kIdentical, kCosine09 };

// Keys of one direction, or each with a cosine of 0.9 to it; unit length.
void correlate(GdnPrefillProblem& p, Keys keys) {
  const int64_t K = p.d.K;
  std::vector<double> common(K);
  double length = 0;
  for (double& x : common) x = p.random.normal(), length += x * x;
  for (double& x : common) x /= std::sqrt(length);
  int64_t i = 0;
  const double away = keys == Keys::kIdentical ? 0 : std::sqrt((1 / 0.81 - 1) / double(K));  // tan of the angle, over K dimensions
  p.in.k.fill([&] { return common[i++ % K] + away * p.random.normal(); });
  p.in.beta.fill([] { return 1.0; });
}

// The unit triangular system at its worst: every power series for its inverse, and exp(-G), fails here.
TEST(GdnPrefillEdges, CorrelatedKeysAndExtremeGates) {
  uint64_t seed = 20;
  for (const int64_t D : {64, 128})
    for (const Keys keys : {Keys::kIdentical, Keys::kCosine09})
      for (const double log_g : {0.0, -1e-6, -20.0, -1000.0})
        for (const DType in : {DType::kF32, DType::kBF16}) {
          GdnPrefillProblem p({1, 1, D, D, {130, 64, 17}, {0, 40, 200}}, {.in = in}, seed++);
          correlate(p, keys);
          p.in.log_g.fill([&] { return log_g; });
          p.expect_forms_match(std::string(keys == Keys::kIdentical ? ", identical keys" : ", keys at cosine 0.9") + ", log_g " +
                               std::to_string(log_g));
        }
}

// Copies of S on the way: the reference's, and for batch-invariant forms those of a call that ends there.
struct Checkpoints {
  GdnPrefillProblem p;
  int64_t every;
  std::vector<int64_t> first;
  Storage cu, want;

  Checkpoints(GdnPrefillProblem problem, int64_t every)
      : p(std::move(problem)), every(every), first(rows(p, every)), cu(ints(first)), want(make()) {}

  static std::vector<int64_t> rows(const GdnPrefillProblem& p, int64_t every) {
    std::vector<int64_t> r{1};  // row 0 is nobody's
    const int32_t *cu = p.cu.tensor().as<int32_t>(), *start = p.start.tensor().as<int32_t>();
    for (size_t b = 0; b < p.slots.size(); ++b) r.push_back(r.back() + (start[b] + cu[b + 1] - cu[b]) / every - start[b] / every);
    return r;
  }
  // Of all rows but the first.
  std::vector<double> named(const Storage& copies) const {
    std::vector<double> x = copies.values();
    x.erase(x.begin(), x.begin() + p.d.HV * p.d.K * p.d.V);
    return x;
  }
  Storage make() const { return Storage(DType::kF32, {first.back(), p.d.HV, p.d.K, p.d.V}); }

  void run(const GdnPrefillImpl& impl, const Storage& copies) const {
    const GdnPool pool(p.before);
    const Storage o(DType::kF32, {p.T, p.d.HV, p.d.V});
    GdnPrefillArgs a = p.args(pool, o);
    a.checkpoints = copies, a.checkpoint_cu = cu, a.checkpoint_every = every;
    const Status ok = check_gdn_prefill(a);
    ASSERT_TRUE(ok.ok()) << ok.to_string();
    run_ok(impl, a);
  }
  void expect_forms_match() const {
    run(prefill_named("reference"), want);
    const std::vector<double> wanted = named(want);
    for (const GdnPrefillImpl* impl : p.forms()) {
      const Storage copies = make();
      run(*impl, copies);
      const std::string what = std::string(impl->name) + ": checkpoints every " + std::to_string(every);
      const Error e = error(named(copies), wanted);
      EXPECT_LE(e.rel_rms, promised(*impl, false).rel_rms) << what;
      EXPECT_LE(e.max_rel, promised(*impl, false).max_rel) << what;
      EXPECT_TRUE(copies.margins_intact() && std::isnan(copies.values()[0])) << what << ": wrote a row that is nobody's";
    }
  }
};

TEST(GdnPrefillEdges, Checkpoints) {
  const GdnPrefillCase c{1, 2, 128, 128, {300, 5, 0, 129, 70}, {0, 62, 64, 63, 64}};
  for (const int64_t every : {64, 128}) {
    Checkpoints(GdnPrefillProblem(c, {.in = DType::kBF16}, 60), every).expect_forms_match();
    if (gpu_context()) Checkpoints(GdnPrefillProblem(c, {.in = DType::kBF16, .R = 16}, 61), every).expect_forms_match();
  }
}

// A sequence that starts from a checkpoint goes on as the one that left it.
TEST(GdnPrefillEdges, CheckpointsAreTheStateOfAShorterCall) {
  const GdnPrefillCase c{1, 2, 64, 64, {300}, {0}};
  const GdnPrefillProblem p(c, {}, 70);
  const Checkpoints all(p, 64);
  for (const GdnPrefillImpl* impl : p.forms()) {
    if (!batch_invariant(*impl)) continue;
    const Storage copies = all.make();
    all.run(*impl, copies);
    for (int64_t n = 64; n < 300; n += 64) {
      const GdnPool pool(p.before);
      const Storage o(DType::kF32, {n, p.d.HV, p.d.V}), cu = ints({0, n});
      auto a = gdn_args<GdnPrefillArgs>(p.in.rows(0, n, o));
      a.cu_seqlens = cu, a.start = p.start, a.slots = p.ids, a.state = pool.state();
      run_ok(*impl, a);
      const Tensor s = pool.s.tensor()[p.slots[0]];
      EXPECT_EQ(std::memcmp(s.data, copies.tensor()[n / 64].data, s.bytes()), 0) << impl->name << " at " << n;
    }
  }
}

TEST(GdnPrefillEdges, RefusesCheckpointsWithoutRoom) {
  const Checkpoints c(GdnPrefillProblem({1, 1, 16, 16, {130}, {0}}, {}, 80), 64);
  const GdnPool pool(c.p.before);
  const Storage o(DType::kF32, {130, 1, 16}), few = ints({0, 1});
  GdnPrefillArgs a = c.p.args(pool, o);
  a.checkpoint_every = 60;
  EXPECT_EQ(check_gdn_prefill(a).message(), "gdn_prefill: checkpoint_every must be a multiple of 64");
  a.checkpoint_every = 64;
  EXPECT_EQ(check_gdn_prefill(a).message(), "gdn_prefill: checkpoints is missing");
  a.checkpoints = c.want, a.checkpoint_cu = few;
  EXPECT_EQ(check_gdn_prefill(a).message(), "gdn_prefill: sequence 0 has 2 checkpoints and rows 0 to 1 of 3 for them");
}

}  // namespace
}  // namespace sluice
