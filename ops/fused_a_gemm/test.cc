#include "ops/fused_a_gemm/cases.h"
#include "ops/fused_a_gemm/fused_a_gemm.h"
#include "ops/fused_a_gemm/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr DType kWeights[] = {DType::kBF16, DType::kF8E4M3}, kOutputs[] = {DType::kBF16, DType::kF32};

int64_t blocks(int64_t n) { return (n + 127) / 128; }

struct Problem {
  Storage x, w, scale;
  bool scaled;

  Problem(const FusedACase& c, DType weights, Random& random)
      : x(random.normal(DType::kBF16, {c.tokens, c.depth}, 1, c.depth + c.pad)),
        w(random.normal(weights, {c.columns, c.depth}, 1, c.depth + c.pad)),
        scale(DType::kF32, {blocks(c.columns), blocks(c.depth)}, blocks(c.depth) + c.pad),
        scaled(weights == DType::kF8E4M3) {
    scale.fill([&] { return random.uniform(0.25, 4); });
  }
  FusedAGemmArgs args(const Tensor& y) const { return {.x = x, .w = w, .w_scale = scaled ? scale.tensor() : Tensor(), .y = y}; }
  FusedAGemmArgs args(const Storage& y) const { return args(y.tensor()); }
};

Storage by_reference(FusedAGemmArgs args) {
  Storage y(DType::kF32, {args.x.shape[0], args.w.shape[0]});
  args.y = y;
  run_ok(impl_named(fused_a_gemm_impls(), "reference"), args);
  return y;
}

void expect_matches_reference(const FusedACase& c, DType weights, DType output, Random& random) {
  const Problem p(c, weights, random);
  const Storage x_sizes = with_sizes_only(p.x), w_sizes = with_sizes_only(p.w), any(output, {c.tokens, c.columns});
  FusedAGemmArgs of_sizes = p.args(any);
  of_sizes.x = x_sizes, of_sizes.w = w_sizes;
  const Storage want = by_reference(p.args(any)), sizes = by_reference(of_sizes);
  for (const auto* impl : runnable(fused_a_gemm_impls(), p.args(any))) {
    const Storage got(output, {c.tokens, c.columns}, c.columns + c.pad, c.pad);
    ASSERT_TRUE(check_fused_a_gemm(p.args(got)).ok()) << check_fused_a_gemm(p.args(got)).message();
    run_ok(*impl, p.args(got));
    expect_within(got, want, sizes,
                  std::string(impl->name) + " " + std::to_string(c.tokens) + " x " + std::to_string(c.columns) + " x " +
                      std::to_string(c.depth) + " " + std::string(dtype_name(weights)));
  }
}

TEST(FusedAGemm, MatchesReference) {
  Random random(1);
  for (const FusedACase& c : kFusedACases)
    for (const DType weights : kWeights)
      for (const DType output : kOutputs) expect_matches_reference(c, weights, output, random);
}

// All columns, then all of K: both at once is the bench's, where forms are compared too.
TEST(FusedAGemm, PublishedShapes) {
  Random random(2);
  for (const FusedACase& c : kFusedAPublished)
    for (const DType weights : kWeights) {
      expect_matches_reference({1, c.columns, 256}, weights, DType::kBF16, random);
      expect_matches_reference({3, 40, c.depth}, weights, DType::kBF16, random);
    }
}

// Exact in every order of summation: small integers and powers of two. Nothing that went astray can hide in a tolerance.
TEST(FusedAGemm, SmallIntegersAreExact) {
  Random random(3);
  for (const DType weights : kWeights)
    for (const FusedACase& c : {FusedACase{19, 150, 384}, FusedACase{3, 37, 77}}) {
      Problem p(c, weights, random);
      p.x.fill([&] { return random.integer(-8, 8); });
      p.w.fill([&] { return random.integer(-8, 8); });
      p.scale.fill([&] { return std::ldexp(1, int(random.integer(-2, 2))); });
      const Storage any(DType::kF32, {c.tokens, c.columns}), want = by_reference(p.args(any));
      for (const auto* impl : runnable(fused_a_gemm_impls(), p.args(any))) {
        const Storage got(DType::kF32, {c.tokens, c.columns});
        run_ok(*impl, p.args(got));
        expect_same_bits(got, want, impl->name);
      }
    }
}

// The formula once more by hand: of ones, a block of the scales counts for as many terms as it has columns.
TEST(FusedAGemm, ScalesAreOfBlocks) {
  constexpr int64_t kN = 264, kK = 384;
  Random random(4);
  Problem p({1, kN, kK}, DType::kF8E4M3, random);
  p.x.fill([] { return 1; });
  p.w.fill([] { return 1; });
  p.scale.fill([i = 0]() mutable { return std::ldexp(1, i++); });  // 1, 2, 4 of rows 0 to 127, then 8, 16, 32
  std::vector<double> want;
  for (int64_t n = 0; n < kN; ++n) want.push_back(std::ldexp(7 * 128, int(n / 128 * 3)));
  for (const auto* impl : runnable(fused_a_gemm_impls(), p.args(Storage(DType::kF32, {1, kN})))) {
    const Storage got(DType::kF32, {1, kN});
    run_ok(*impl, p.args(got));
    EXPECT_EQ(got.values(), want) << impl->name;
  }
}

// Row n of w is the number of code n at one place, and zero elsewhere.
TEST(FusedAGemm, EveryFp8) {
  constexpr int64_t kCodes = 256, kK = 256;
  Random random(5);
  for (const int64_t place : {0, 1, 2, 3, 77, 255}) {
    Problem p({2, kCodes, kK}, DType::kF8E4M3, random);
    p.x.fill([&, i = 0]() mutable { return i++ % kK == place ? 1 : 0; });
    p.w.fill([] { return 0; });
    p.scale.fill([] { return 1; });
    for (int64_t n = 0; n < kCodes; ++n) p.w.tensor().as<uint8_t>()[n * kK + place] = uint8_t(n);
    const Storage any(DType::kF32, {2, kCodes});
    for (const auto* impl : runnable(fused_a_gemm_impls(), p.args(any))) {
      const Storage got(DType::kF32, {2, kCodes});
      run_ok(*impl, p.args(got));
      const std::vector<double> values = got.values();
      for (size_t i = 0; i < values.size(); ++i) {
        F8E4M3 number;
        number.bits = uint8_t(i % kCodes);
        if (std::isnan(float(number))) EXPECT_TRUE(std::isnan(values[i])) << impl->name << " " << i;
        else EXPECT_EQ(values[i], float(number)) << impl->name << " " << i;
      }
    }
  }
}

// A NaN of x is its token's, one of w its column's, and nobody else's.
TEST(FusedAGemm, NaNStaysInItsRow) {
  Random random(6);
  for (const DType weights : kWeights)
    for (const int64_t k : {0, 130, 255}) {
      Problem p({18, 20, 256}, weights, random);
      p.x.tensor().as<Bf16>()[17 * 256 + k] = Bf16(NAN);
      if (weights == DType::kBF16) p.w.tensor().as<Bf16>()[11 * 256 + k] = Bf16(NAN);
      else p.w.tensor().as<F8E4M3>()[11 * 256 + k] = F8E4M3(NAN);
      for (const auto* impl : runnable(fused_a_gemm_impls(), p.args(Storage(DType::kF32, {18, 20})))) {
        const Storage got(DType::kF32, {18, 20});
        run_ok(*impl, p.args(got));
        const std::vector<double> values = got.values();
        for (size_t i = 0; i < values.size(); ++i)
          EXPECT_EQ(std::isnan(values[i]), i / 20 == 17 || i % 20 == 11) << impl->name << " " << i;
      }
    }
}

// Tokens one at a time, in batches of every kind, on one thread and on several: the same bits.
TEST(FusedAGemm, SameBitsAloneAndInABatch) {
  Random random(7);
  constexpr int64_t kT = 37, kN = 83;
  for (const DType weights : kWeights) {
    const Problem p({kT, kN, 1280}, weights, random);
    for (const auto* impl : runnable(fused_a_gemm_impls(), p.args(Storage(DType::kF32, {kT, kN})))) {
      const Storage whole(DType::kF32, {kT, kN});
      run_ok(*impl, p.args(whole));
      for (const int threads : {1, 2})
        for (const int64_t rows : {1, 3, 8, 9, 16, 25}) {
          const Storage parts(DType::kF32, {kT, kN});
          for (int64_t t = 0; t < kT; t += rows) {
            const int64_t end = std::min(t + rows, kT);
            FusedAGemmArgs args = p.args(parts.tensor().slice(0, t, end));
            args.x = args.x.slice(0, t, end);
            run_ok(*impl, args, threads);
          }
          expect_same_bits(whole, parts, std::string(impl->name) + ", " + std::to_string(rows) + " rows");
        }
    }
  }
}

TEST(FusedAGemm, RefusesBadArguments) {
  const Storage x(DType::kBF16, {2, 130}), w(DType::kBF16, {5, 130}), w8(DType::kF8E4M3, {5, 130}), s(DType::kF32, {1, 2}),
      y(DType::kBF16, {2, 5}), f32(DType::kF32, {2, 130}), short_w(DType::kBF16, {5, 129}), flat(DType::kBF16, {5});
  const auto message = [](const FusedAGemmArgs& args) { return check_fused_a_gemm(args).message(); };
  EXPECT_EQ(message({}), "fused_a_gemm: x is missing");
  EXPECT_EQ(message({.x = flat}), "fused_a_gemm: x has rank 1, wanted 2");
  EXPECT_EQ(message({.x = f32}), "fused_a_gemm: x is F32, wanted BF16");
  EXPECT_EQ(message({.x = x.tensor().swap_last_two()}), "fused_a_gemm: x must have stride 1 in its last dimension");
  EXPECT_EQ(message({.x = x}), "fused_a_gemm: w is missing");
  EXPECT_EQ(message({.x = x, .w = f32}), "fused_a_gemm: w is F32, wanted BF16 or F8_E4M3");
  EXPECT_EQ(message({.x = x, .w = short_w}), "fused_a_gemm: w has shape [5, 129], wanted [5, 130]");
  EXPECT_EQ(message({.x = x, .w = w8, .y = y}), "fused_a_gemm: w_scale is missing");
  EXPECT_EQ(message({.x = x, .w = w8, .w_scale = w, .y = y}), "fused_a_gemm: w_scale is BF16, wanted F32");
  EXPECT_EQ(message({.x = x, .w = w8, .w_scale = f32, .y = y}), "fused_a_gemm: w_scale has shape [2, 130], wanted [1, 2]");
  EXPECT_EQ(message({.x = x, .w = w, .w_scale = s, .y = y}), "fused_a_gemm: w_scale is there, and w is BF16: wanted F8_E4M3");
  EXPECT_EQ(message({.x = x, .w = w}), "fused_a_gemm: y is missing");
  EXPECT_EQ(message({.x = x, .w = w, .y = w}), "fused_a_gemm: y has shape [5, 130], wanted [2, 5]");
  EXPECT_EQ(message({.x = x, .w = w8, .w_scale = s, .y = y}), "");
}

TEST(FusedAGemm, GpuFormSaysWhatItRefuses) {
  const auto& impl = impl_named(fused_a_gemm_impls(), "portable");
  const auto& of_fp8 = impl_named(fused_a_gemm_impls(), "sm90");
  const Storage x(DType::kBF16, {2, 128}), w(DType::kBF16, {5, 128}), odd(DType::kBF16, {2, 128}, 132),
      after(DType::kBF16, {2, 128}, 0, 1), short_x(DType::kBF16, {2, 96}), short_w(DType::kBF16, {5, 96}), y(DType::kBF16, {2, 5}),
      fp8(DType::kF8E4M3, {5, 128}), x0(DType::kBF16, {2, 0}), fp8_0(DType::kF8E4M3, {5, 0});
  const auto refusal = [&](const Storage& from, const Storage& by, const Impl<FusedAGemmArgs>& impl) {
    const Can c = impl.can({.x = from, .w = by, .y = y});
    return std::string(c.yes() ? "" : c.refusal);
  };
  EXPECT_EQ(refusal(x, w, impl), "");
  EXPECT_EQ(refusal(short_x, short_w, impl),
            "a row of w is no multiple of 128 bytes (K of 64 for BF16, 128 for F8_E4M3, 32 for F32)");
  EXPECT_EQ(refusal(odd, w, impl), "a row of x or w does not begin at a multiple of 16 bytes");
  EXPECT_EQ(refusal(after, w, impl), "a row of x or w does not begin at a multiple of 16 bytes");
  EXPECT_EQ(refusal(x, fp8, of_fp8), "");
  EXPECT_EQ(refusal(odd, fp8, of_fp8), "a row of x or w does not begin at a multiple of 16 bytes");
  EXPECT_EQ(refusal(x, w, of_fp8), "w is not F8_E4M3");
  EXPECT_EQ(refusal(x0, fp8_0, of_fp8), "K is 0");
}

}  // namespace
}  // namespace sluice
