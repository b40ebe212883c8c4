#include "ops/quant_matmul/cases.h"
#include "ops/quant_matmul/quant_matmul.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// [N, K] of a format with random codes, extremes included, and scales that make a typical weight 1.
struct Weights {
  Storage codes, scale;

  Weights(Random& random, const QuantFormat& f, int64_t n, int64_t k, bool odd_strides = false)
      : codes(f.codes, {n, k / per_element(f)}, odd_strides ? k / per_element(f) + 3 : 0, odd_strides),
        scale(f.scale, scale_shape(f, n, k), odd_strides ? scale_shape(f, n, k)[1] + 1 : 0, odd_strides) {
    const double typical = f.codes == DType::kI8 ? 74 : f.codes == DType::kI32 ? 4.6 : 1;  // rms of the codes
    codes.fill([&]() -> double {
      if (f.codes == DType::kI8) return double(random.integer(-128, 127));
      if (f.codes == DType::kI32) return double(random.integer(INT32_MIN, INT32_MAX));
      return random.integer(0, 9) ? random.normal() : random.normal(0, 0.003);  // some denormals of e4m3
    });
    scale.fill([&] { return random.uniform(0.5, 1.5) * (random.integer(0, 1) ? 1 : -1) / typical; });
  }
  static int64_t per_element(const QuantFormat& f) { return f.codes == DType::kI32 ? 8 : 1; }
  static std::vector<int64_t> scale_shape(const QuantFormat& f, int64_t n, int64_t k) {
    if (f.codes == DType::kF8E4M3) return {ceil_div(n, kFp8Block), ceil_div(k, kFp8Block)};
    return {n, f.group ? k / f.group : 1};
  }
};

std::string name(const QuantFormat& f) {
  return std::string(dtype_name(f.codes)) + " in groups of " + std::to_string(f.group) + " " + std::string(dtype_name(f.scale));
}

// The contract's limits, as in matmul's test: relative to sqrt(K), a typical output.
Tolerance limit(const Storage& want, int64_t k) {
  if (want.tensor().dtype == DType::kBF16) return {4e-3, 8e-3};
  double squares = 0;
  for (const double v : want.values()) squares += v * v;
  const double rms = std::sqrt(squares / std::max<double>(1, double(want.tensor().numel())));
  const double depth = std::sqrt(double(k) / 1024 + 1), cancelled = rms > 0 ? std::max(1.0, std::sqrt(double(k)) / rms) : 1;
  return {2e-6 * depth * cancelled, 2e-5 * depth * cancelled};
}

void expect_matches_reference(Random& random, const QuantFormat& f, int64_t m, int64_t n, int64_t k, DType xt, DType yt, bool odd) {
  const Storage x = random.normal(xt, {m, k}, 1, odd ? k + 3 : 0, odd);
  const Weights w(random, f, n, k, odd);
  const Storage want(yt, {m, n}, odd ? n + 7 : 0, odd);
  QuantMatmulArgs args{.x = x, .w = w.codes, .scale = w.scale, .y = want};
  ASSERT_TRUE(check_quant_matmul(args).ok()) << check_quant_matmul(args).message();
  run_ok(impl_named(quant_matmul_impls(), "reference"), args);
  for (const auto* impl : runnable(quant_matmul_impls(), args)) {
    const Storage got(yt, {m, n}, odd ? n + 7 : 0, odd);
    args.y = got;
    run_ok(*impl, args);
    expect_close(got, want, limit(want, k),
                 std::string(impl->name) + " " + name(f) + " M " + std::to_string(m) + " N " + std::to_string(n) + " K " +
                     std::to_string(k));
  }
}

// One group of scales, an odd number, and what is no multiple of a vector.
std::vector<int64_t> depths(const QuantFormat& f) {
  if (f.codes == DType::kF8E4M3) return {1, 100, 128, 136, 384};
  if (f.group == 0) return {32, 96, 160, 1024};
  return {f.group, 3 * f.group, 8 * f.group};
}

TEST(QuantMatmul, MatchesReferenceInEveryShape) {
  Random random(1);
  int turn = 0;
  for (const QuantFormat& f : kQuantFormats)
    for (const int64_t m : kQuantRows)
      for (const int64_t n : kQuantColumns) {
        const std::vector<int64_t> all = depths(f);
        const DType x = turn % 2 ? DType::kF32 : DType::kBF16, y = turn / 2 % 2 ? DType::kBF16 : DType::kF32;
        expect_matches_reference(random, f, m, n, all[turn % all.size()], x, y, turn % 3 == 0);
        ++turn;
      }
}

TEST(QuantMatmul, SameBitsAloneAndInABatch) {
  Random random(2);
  constexpr int64_t kM = 70, kN = 83, kK = 384;
  const Storage x = random.normal(DType::kBF16, {kM, kK});
  for (const QuantFormat& f : kQuantFormats) {
    const Weights w(random, f, kN, kK);
    const Storage whole(DType::kF32, {kM, kN});
    for (const auto* impl : runnable(quant_matmul_impls(), QuantMatmulArgs{.x = x, .w = w.codes, .scale = w.scale, .y = whole})) {
      run_ok(*impl, QuantMatmulArgs{.x = x, .w = w.codes, .scale = w.scale, .y = whole});
      for (const int threads : {1, 2})
        for (const int64_t rows : {1, 2, 6, 13, 16, 33, 70}) {
          const Storage parts(DType::kF32, {kM, kN});
          for (int64_t m = 0; m < kM; m += rows) {
            const int64_t end = std::min(m + rows, kM);
            run_ok(*impl,
                   QuantMatmulArgs{
                       .x = x.tensor().slice(0, m, end), .w = w.codes, .scale = w.scale, .y = parts.tensor().slice(0, m, end)},
                   threads);
          }
          expect_same_bits(whole, parts, std::string(impl->name) + " " + name(f) + " " + std::to_string(rows) + " rows");
        }
    }
  }
}

}  // namespace
}  // namespace sluice
