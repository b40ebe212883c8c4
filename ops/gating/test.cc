#include <algorithm>

#include "ops/gating/cases.h"
#include "ops/gating/gating.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Outputs {
  Storage log_g, beta;
  explicit Outputs(const GatingCase& c) : log_g(DType::kF32, {c.tokens, c.heads}), beta(DType::kF32, {c.tokens, c.heads}) {}
};

// The contract's limit on log_g, element by element.
void expect_each_close(const Storage& got, const Storage& want, const std::string& what) {
  const std::vector<double> g = got.values(), w = want.values();
  double top = 0;
  for (const double v : w) top = std::max(top, std::abs(v));
  for (size_t i = 0; i < w.size(); ++i) EXPECT_LE(std::abs(g[i] - w[i]), 1e-5 * std::abs(w[i]) + 1e-6 * top) << what << " at " << i;
}

void compare(Random& random, const GatingCase& c, DType in, DType params, bool neg_eigval) {
  const Storage a = random.normal(in, {c.tokens, c.heads}, 6.0, c.in_stride), b = random.normal(params, {c.tokens, c.heads}, 4.0);
  const Storage A_log = random.normal(params, {c.heads}, 2.0), dt_bias = random.normal(in, {c.heads}, 3.0);
  Outputs want(c);
  GatingArgs args{.a = a, .b = b, .A_log = A_log, .dt_bias = dt_bias, .log_g = want.log_g, .beta = want.beta};
  args.allow_neg_eigval = neg_eigval;
  ASSERT_TRUE(check_gating(args).ok());
  run_ok(impl_named(gating_impls(), "reference"), args);
  for (const auto* impl : runnable(gating_impls(), args)) {
    Outputs got(c);
    args.log_g = got.log_g, args.beta = got.beta;
    run_ok(*impl, args);
    expect_close(got.log_g, want.log_g, {2e-6, 2e-5}, impl->name);
    expect_close(got.beta, want.beta, {2e-6, 2e-5}, impl->name);
    expect_each_close(got.log_g, want.log_g, impl->name);
    for (const double v : got.log_g.values()) EXPECT_LE(v, 0) << impl->name;
  }
}

TEST(Gating, MatchesReference) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType params : {DType::kF32, DType::kBF16})
      for (const bool neg_eigval : {false, true})
        for (const GatingCase& c : kGatingCases) compare(random, c, in, params, neg_eigval);
}

// By hand: softplus(0) = ln 2, sigmoid(0) = 1/2; far inputs neither overflow nor go positive.
TEST(Gating, KnownValues) {
  Storage a(DType::kF32, {1, 3}), log_g(DType::kF32, {1, 3}), beta(DType::kF32, {1, 3});
  const double inputs[] = {0, 1000, -1000};
  int i = 0;
  a.fill([&] { return inputs[i++]; });
  Storage params(DType::kF32, {3});
  params.fill([] { return 0.0; });
  for (const auto* impl : runnable(gating_impls(), GatingArgs{})) {
    run_ok(*impl, GatingArgs{.a = a, .b = a, .A_log = params, .dt_bias = params, .log_g = log_g, .beta = beta});
    EXPECT_NEAR(log_g.values()[0], -std::log(2.0), 1e-6) << impl->name;
    EXPECT_EQ(log_g.values()[1], -1000) << impl->name;
    EXPECT_EQ(log_g.values()[2], 0) << impl->name;
    EXPECT_EQ(beta.values(), (std::vector<double>{0.5, 1, 0})) << impl->name;
  }
}

TEST(Gating, SameBitsAloneAndInABatch) {
  Random random(2);
  const GatingCase c{1025, 16, 0};
  const Storage a = random.normal(DType::kF32, {c.tokens, c.heads}), b = random.normal(DType::kF32, {c.tokens, c.heads});
  const Storage A_log = random.normal(DType::kF32, {c.heads}), dt_bias = random.normal(DType::kF32, {c.heads});
  for (const auto* impl : runnable(gating_impls(), GatingArgs{})) {
    Outputs whole(c), rows(c), one_thread(c);
    GatingArgs args{.a = a, .b = b, .A_log = A_log, .dt_bias = dt_bias, .log_g = whole.log_g, .beta = whole.beta};
    run_ok(*impl, args);
    args.log_g = one_thread.log_g, args.beta = one_thread.beta;
    run_ok(*impl, args, 1);
    for (int64_t t = 0; t < c.tokens; ++t) {
      const auto row = [&](const Storage& s) { return s.tensor().slice(0, t, t + 1); };
      args.a = row(a), args.b = row(b), args.log_g = row(rows.log_g), args.beta = row(rows.beta);
      run_ok(*impl, args);
    }
    expect_same_bits(whole.log_g, rows.log_g, impl->name);
    expect_same_bits(whole.beta, rows.beta, impl->name);
    expect_same_bits(whole.log_g, one_thread.log_g, impl->name);
    expect_same_bits(whole.beta, one_thread.beta, impl->name);
  }
}

TEST(Gating, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 8}), y(DType::kF32, {2, 7}), w(DType::kF32, {8}), half(DType::kBF16, {2, 8});
  EXPECT_EQ(check_gating({.a = x, .b = y, .A_log = w, .dt_bias = w, .log_g = x, .beta = x}).message(),
            "gating: b has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_gating({.a = x, .b = x, .A_log = w, .dt_bias = w, .log_g = half, .beta = x}).message(),
            "gating: log_g is BF16, wanted F32");
  EXPECT_EQ(check_gating({.a = x, .b = x, .dt_bias = w, .log_g = x, .beta = x}).message(), "gating: A_log is missing");
}

}  // namespace
}  // namespace sluice
