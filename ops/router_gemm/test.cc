#include "ops/fused_a_gemm/test_problem.h"
#include "ops/router_gemm/cases.h"
#include "ops/router_gemm/router_gemm.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr DType kTypes[] = {DType::kBF16, DType::kF32};

Storage by_reference(const Storage& x, const Storage& w) {
  const Storage logits(DType::kF32, {x.tensor().shape[0], w.tensor().shape[0]});
  run_ok(impl_named(router_gemm_impls(), "reference"), RouterGemmArgs{.x = x, .w = w, .logits = logits});
  return logits;
}

struct Types {
  DType x, w, logits;
};

void expect_matches_reference(const RouterCase& c, const Types& types, Random& random, int64_t offset = 0) {
  const Storage x = random.normal(types.x, {c.tokens, c.depth}, 1, c.depth + c.pad, offset),
                w = random.normal(types.w, {c.experts, c.depth}, 1, c.depth + c.pad, offset);
  const Storage want = by_reference(x, w), sizes = by_reference(with_sizes_only(x), with_sizes_only(w));
  for (const auto* impl : runnable(router_gemm_impls(), RouterGemmArgs{.x = x, .w = w, .logits = want})) {
    const Storage got(types.logits, {c.tokens, c.experts}, c.experts + c.pad, offset);
    const RouterGemmArgs args{.x = x, .w = w, .logits = got};
    ASSERT_TRUE(check_router_gemm(args).ok()) << check_router_gemm(args).message();
    run_ok(*impl, args);
    expect_within(got, want, sizes,
                  std::string(impl->name) + " " + std::to_string(c.tokens) + " x " + std::to_string(c.experts) + " x " +
                      std::to_string(c.depth) + " " + std::string(dtype_name(types.x)) + " x " + std::string(dtype_name(types.w)));
  }
}

TEST(RouterGemm, MatchesReference) {
  Random random(1);
  for (const RouterCase& c : kRouterCases)
    for (const DType x : kTypes)
      for (const DType w : kTypes)
        for (const DType logits : kTypes) expect_matches_reference(c, {x, w, logits}, random);
}

TEST(RouterGemm, OddAddresses) {
  Random random(2);
  for (const DType x : kTypes)
    for (const DType w : kTypes) expect_matches_reference({5, 20, 264}, {x, w, DType::kF32}, random, 1);
}

TEST(RouterGemm, PublishedShapes) {
  Random random(3);
  for (const RouterCase& c : kRouterPublished) {
    expect_matches_reference({1, c.experts, 512}, {DType::kBF16, DType::kBF16, DType::kF32}, random);
    expect_matches_reference({3, 40, c.depth}, {DType::kBF16, DType::kBF16, DType::kF32}, random);
    expect_matches_reference({3, 24, c.depth}, {DType::kBF16, DType::kF32, DType::kF32}, random);
  }
}

// Exact in every order of summation: small integers; and fp32 weights of 24 bits, each times one token's 1.
TEST(RouterGemm, IntegersAreExact) {
  Random random(4);
  for (const DType t : kTypes)
    for (const int64_t k : {77, 384}) {
      Storage x(DType::kBF16, {19, k}), w(t, {37, k});
      x.fill([&] { return random.integer(-8, 8); });
      w.fill([&] { return random.integer(-8, 8); });
      const Storage want = by_reference(x, w);
      for (const auto* impl : runnable(router_gemm_impls(), RouterGemmArgs{.x = x, .w = w, .logits = want})) {
        const Storage got(DType::kF32, {19, 37});
        run_ok(*impl, RouterGemmArgs{.x = x, .w = w, .logits = got});
        expect_same_bits(got, want, impl->name);
      }
    }
  Storage one_each(DType::kBF16, {8, 64}), w(DType::kF32, {30, 64});
  one_each.fill([i = 0]() mutable {
    const int token = i / 64, k = i++ % 64;
    return k == token * 9 ? 1 : 0;
  });
  w.fill([&] { return double(random.integer(-(1 << 24) + 1, (1 << 24) - 1)); });
  const Storage want = by_reference(one_each, w);
  for (const auto* impl : runnable(router_gemm_impls(), RouterGemmArgs{.x = one_each, .w = w, .logits = want})) {
    const Storage got(DType::kF32, {8, 30});
    run_ok(*impl, RouterGemmArgs{.x = one_each, .w = w, .logits = got});
    EXPECT_EQ(got.values(), want.values()) << impl->name;
  }
}

// Infinity and NaN come out where fp64 has them, and nowhere else.
TEST(RouterGemm, InfinityAndNaN) {
  Random random(5);
  for (const DType t : kTypes) {
    const Storage x = random.normal(DType::kBF16, {18, 128}), w = random.normal(t, {20, 128});
    x.tensor().as<Bf16>()[17 * 128 + 3] = Bf16(NAN);
    x.tensor().as<Bf16>()[4 * 128 + 9] = Bf16(-INFINITY);
    const auto put = [&](int64_t at, float v) {
      if (t == DType::kF32) w.tensor().as<float>()[at] = v;
      else w.tensor().as<Bf16>()[at] = Bf16(v);
    };
    put(11 * 128 + 5, NAN), put(6 * 128 + 127, INFINITY);
    const std::vector<double> want = by_reference(x, w).values();
    for (const auto* impl :
         runnable(router_gemm_impls(), RouterGemmArgs{.x = x, .w = w, .logits = Storage(DType::kF32, {18, 20})})) {
      const Storage logits(DType::kF32, {18, 20});
      run_ok(*impl, RouterGemmArgs{.x = x, .w = w, .logits = logits});
      const std::vector<double> got = logits.values();
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(std::isnan(got[i]), std::isnan(want[i])) << impl->name << " " << i;
        if (!std::isfinite(want[i]) && !std::isnan(want[i])) {
          EXPECT_EQ(got[i], want[i]) << impl->name << " " << i;
        }
      }
    }
  }
}

// Tokens one at a time, in batches of every kind, on one thread and on several: the same bits.
TEST(RouterGemm, SameBitsAloneAndInABatch) {
  Random random(6);
  constexpr int64_t kT = 67, kE = 40;
  for (const DType xt : kTypes)
    for (const DType wt : kTypes)
      for (const int64_t k : {100, 1152}) {
        const Storage x = random.normal(xt, {kT, k}), w = random.normal(wt, {kE, k});
        for (const auto* impl :
             runnable(router_gemm_impls(), RouterGemmArgs{.x = x, .w = w, .logits = Storage(DType::kF32, {kT, kE})})) {
          const Storage whole(DType::kF32, {kT, kE});
          run_ok(*impl, RouterGemmArgs{.x = x, .w = w, .logits = whole});
          for (const int threads : {1, 2})
            for (const int64_t rows : {1, 3, 8, 16, 25, 64}) {
              const Storage parts(DType::kF32, {kT, kE});
              for (int64_t t = 0; t < kT; t += rows) {
                const int64_t end = std::min(t + rows, kT);
                run_ok(*impl, RouterGemmArgs{.x = x.tensor().slice(0, t, end), .w = w, .logits = parts.tensor().slice(0, t, end)},
                       threads);
              }
              expect_same_bits(whole, parts, std::string(impl->name) + ", " + std::to_string(rows) + " rows");
            }
        }
      }
}

TEST(RouterGemm, RefusesBadArguments) {
  const Storage x(DType::kBF16, {2, 96}), w(DType::kBF16, {5, 96}), f16(DType::kF16, {2, 96}), short_w(DType::kBF16, {5, 95}),
      logits(DType::kF32, {2, 5}), flat(DType::kBF16, {5});
  const auto message = [](const RouterGemmArgs& args) { return check_router_gemm(args).message(); };
  EXPECT_EQ(message({}), "router_gemm: x is missing");
  EXPECT_EQ(message({.x = flat}), "router_gemm: x has rank 1, wanted 2");
  EXPECT_EQ(message({.x = f16}), "router_gemm: x is F16, wanted BF16 or F32");
  EXPECT_EQ(message({.x = x.tensor().swap_last_two()}), "router_gemm: x must have stride 1 in its last dimension");
  EXPECT_EQ(message({.x = x}), "router_gemm: w is missing");
  EXPECT_EQ(message({.x = x, .w = f16}), "router_gemm: w is F16, wanted BF16 or F32");
  EXPECT_EQ(message({.x = x, .w = short_w}), "router_gemm: w has shape [5, 95], wanted [5, 96]");
  EXPECT_EQ(message({.x = x, .w = w}), "router_gemm: logits is missing");
  EXPECT_EQ(message({.x = x, .w = w, .logits = w}), "router_gemm: logits has shape [5, 96], wanted [2, 5]");
  EXPECT_EQ(message({.x = x, .w = w, .logits = logits}), "");
}

TEST(RouterGemm, HopperFormSaysWhatItRefuses) {
  const auto& impl = impl_named(router_gemm_impls(), "sm90");
  const auto refusal = [&](DType weights, int64_t k, int64_t pad) {
    const Storage x(DType::kBF16, {2, k}), w(weights, {5, k}, k + pad), y(DType::kF32, {2, 5});
    const Can c = impl.can({.x = x, .w = w, .logits = y});
    return std::string(c.yes() ? "" : c.refusal);
  };
  EXPECT_EQ(refusal(DType::kBF16, 128, 0), "");
  EXPECT_EQ(refusal(DType::kBF16, 8192, 8), "");
  EXPECT_EQ(refusal(DType::kF32, 128, 0), "w is not BF16");
  EXPECT_EQ(refusal(DType::kBF16, 192, 0), "K is no multiple of 128, or above 8192");
  EXPECT_EQ(refusal(DType::kBF16, 8192 + 128, 0), "K is no multiple of 128, or above 8192");
  EXPECT_EQ(refusal(DType::kBF16, 128, 4), "a row of x or w does not begin at a multiple of 16 bytes");
}

}  // namespace
}  // namespace sluice
