#include "ops/quant_matmul/cases.h"
#include "ops/quant_matmul/quant_matmul.h"
#include "tests/support/op_testing.h"
#include "tests/support/product_limit.h"

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
    expect_close(got, want, product_limit(want, k),
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

// More rows than a tile, more columns than a strip, on more than one item each way.
TEST(QuantMatmul, MatchesReferenceAcrossItems) {
  Random random(3);
  for (const QuantFormat& f : kQuantFormats) {
    expect_matches_reference(random, f, 512, 40, 256, DType::kBF16, DType::kF32, false);
    expect_matches_reference(random, f, 3, 517, 256, DType::kF32, DType::kBF16, true);
    expect_matches_reference(random, f, 1, 517, 640, DType::kBF16, DType::kF32, true);
  }
}

TEST(QuantMatmul, SameBitsForAnySliceOfTheWeights) {
  Random random(4);
  for (const QuantFormat& f : kQuantFormats)
    for (const int64_t m : {1, 9}) {
      const Storage x = random.normal(DType::kF32, {m, 384}), whole(DType::kF32, {m, 300}), parts(DType::kF32, {m, 300});
      const Weights w(random, f, 300, 384);
      for (const auto* impl : runnable(quant_matmul_impls(), QuantMatmulArgs{.x = x, .w = w.codes, .scale = w.scale, .y = whole})) {
        run_ok(*impl, QuantMatmulArgs{.x = x, .w = w.codes, .scale = w.scale, .y = whole});
        for (const auto& [begin, end] : {std::pair{0, 128}, {128, 256}, {256, 300}}) {
          const bool blocks = f.codes == DType::kF8E4M3;
          const Tensor scale =
              blocks ? w.scale.tensor().slice(0, begin / 128, (end + 127) / 128) : w.scale.tensor().slice(0, begin, end);
          run_ok(*impl,
                 QuantMatmulArgs{
                     .x = x, .w = w.codes.tensor().slice(0, begin, end), .scale = scale, .y = parts.tensor().slice(1, begin, end)});
        }
        expect_same_bits(whole, parts, std::string(impl->name) + " " + name(f));
      }
    }
}

// Where a code lies, one at a time: x is 127 at one k, so that its code is 127 and its scale 1.
TEST(QuantMatmul, EveryCodeHasItsPlace) {
  constexpr int64_t kK = 160, kN = 2;
  Random random(5);
  for (const bool int4 : {false, true}) {
    Storage codes(int4 ? DType::kI32 : DType::kI8, {kN, int4 ? kK / 8 : kK}), scale(DType::kF32, {kN, 1}), x(DType::kF32, {kK, kK});
    scale.fill([] { return 1.0; });
    std::vector<double> want(size_t(kK * kN));
    std::vector<int> code(size_t(kN * kK));
    for (int& c : code) c = int(int4 ? random.integer(-8, 7) : random.integer(-128, 127));
    int64_t i = 0;
    codes.fill([&]() -> double {
      if (!int4) return code[size_t(i++)];
      uint32_t word = 0;  // the first code in the lowest four bits, eight added
      for (int e = 0; e < 8; ++e) word |= uint32_t(code[size_t(i++)] + 8) << (4 * e);
      return int32_t(word);
    });
    i = 0;
    x.fill([&] {
      const bool here = i / kK == i % kK;
      return ++i, here ? 127.0 : 0.0;
    });
    for (int64_t k = 0; k < kK; ++k)
      for (int64_t n = 0; n < kN; ++n) want[size_t(k * kN + n)] = 127.0 * code[size_t(n * kK + k)];
    for (const int64_t rows : {int64_t(1), kK}) {
      const Storage y(DType::kF32, {kK, kN});
      for (const auto* impl : runnable(quant_matmul_impls(), QuantMatmulArgs{.x = x, .w = codes, .scale = scale, .y = y})) {
        for (int64_t m = 0; m < kK; m += rows)
          run_ok(*impl,
                 QuantMatmulArgs{
                     .x = x.tensor().slice(0, m, m + rows), .w = codes, .scale = scale, .y = y.tensor().slice(0, m, m + rows)});
        EXPECT_EQ(y.values(), want) << impl->name << " " << rows << " rows";
      }
    }
  }
}

// Products as large as they get, in every group.
TEST(QuantMatmul, ExtremeCodesAreExact) {
  constexpr int64_t kK = 256;
  for (const bool int4 : {false, true})
    for (const int64_t m : {1, 7}) {
      Storage codes(int4 ? DType::kI32 : DType::kI8, {3, int4 ? kK / 8 : kK}), scale(DType::kF32, {3, 1}), x(DType::kF32, {m, kK});
      scale.fill([] { return 0.5; });
      int64_t i = 0;
      codes.fill([&]() -> double {
        const bool negative = i++ / codes.tensor().shape[1] != 1;  // rows 0 and 2: the least code; 1: the most
        return int4 ? (negative ? 0.0 : -1.0) : (negative ? -128.0 : 127.0);
      });
      x.fill([] { return -127.0; });
      const double least = int4 ? -8 : -128, most = int4 ? 7 : 127, by = -127.0 * 0.5 * kK;
      for (const auto* impl : runnable(quant_matmul_impls(), QuantMatmulArgs{.x = x, .w = codes, .scale = scale, .y = x})) {
        const Storage y(DType::kF32, {m, 3});
        run_ok(*impl, QuantMatmulArgs{.x = x, .w = codes, .scale = scale, .y = y});
        for (int64_t r = 0; r < m; ++r) {
          EXPECT_EQ(y.values()[size_t(3 * r)], least * by) << impl->name;
          EXPECT_EQ(y.values()[size_t(3 * r + 1)], most * by) << impl->name;
        }
      }
    }
}

// Rows of zeros, rows too small for a scale, and rows with something that is not finite, which are NaN (fp8: infinite where it can
// be).
TEST(QuantMatmul, OddRows) {
  Random random(6);
  constexpr int64_t kM = 6, kN = 5, kK = 256;
  for (const QuantFormat& f : kQuantFormats) {
    Storage x(DType::kF32, {kM, kK});
    int64_t i = 0;
    x.fill([&]() -> double {
      const int64_t m = i / kK, k = i++ % kK;
      if (m == 0) return 0;
      if (m == 1) return 1e-45;
      if (k == 200 && m >= 3) return m == 3 ? INFINITY : m == 4 ? -INFINITY : NAN;
      return random.normal();
    });
    const Weights w(random, f, kN, kK);
    for (const auto* impl : runnable(quant_matmul_impls(), QuantMatmulArgs{.x = x, .w = w.codes, .scale = w.scale, .y = x})) {
      const Storage y(DType::kF32, {kM, kN});
      run_ok(*impl, QuantMatmulArgs{.x = x, .w = w.codes, .scale = w.scale, .y = y});
      const auto v = y.values();
      for (int64_t o = 0; o < kM * kN; ++o) {
        const int64_t m = o / kN;
        const std::string what = std::string(impl->name) + " " + name(f) + " row " + std::to_string(m);
        if (m == 0) EXPECT_EQ(v[size_t(o)], 0) << what;
        else if (m == 1) EXPECT_LT(std::abs(v[size_t(o)]), 1e-40) << what;
        else if (m == 2) EXPECT_TRUE(std::isfinite(v[size_t(o)])) << what;
        else if (m == 5 || f.codes != DType::kF8E4M3) EXPECT_TRUE(std::isnan(v[size_t(o)])) << what;
        else EXPECT_FALSE(std::isfinite(v[size_t(o)])) << what;
      }
    }
  }
}

TEST(QuantMatmul, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 64}), y(DType::kF32, {2, 5}), w8(DType::kI8, {5, 64}), w4(DType::kI32, {5, 8}),
      row(DType::kF32, {5, 1}), two(DType::kF32, {5, 2}), four(DType::kF32, {5, 4}), three(DType::kF32, {5, 3}),
      few(DType::kF32, {4, 1});
  const auto refusal = [&](const Tensor& w, const Tensor& scale) {
    return check_quant_matmul({.x = x, .w = w, .scale = scale, .y = y}).message();
  };
  EXPECT_EQ(refusal(w8, row), "");
  EXPECT_EQ(refusal(w4, two), "");
  const std::string wanted = ", wanted [5, 1] or [5, 64 / G] with G a multiple of 32";
  EXPECT_EQ(refusal(w8, four), "quant_matmul: scale has shape [5, 4]" + wanted);
  EXPECT_EQ(refusal(w4, three), "quant_matmul: scale has shape [5, 3]" + wanted);
  EXPECT_EQ(refusal(w8, few), "quant_matmul: scale has shape [4, 1]" + wanted);
  EXPECT_EQ(refusal(Storage(DType::kI8, {5, 40}), row), "quant_matmul: w has 40 weights a row, wanted a multiple of 32");
  EXPECT_EQ(refusal(Storage(DType::kI32, {5, 5}), row), "quant_matmul: w has 40 weights a row, wanted a multiple of 32");
  EXPECT_EQ(refusal(Storage(DType::kI8, {5, 0}), row), "quant_matmul: w has no weights in a row");
  EXPECT_EQ(refusal(Storage(DType::kI8, {5, 96}), row), "quant_matmul: x has shape [2, 64], wanted [2, 96]");
  EXPECT_EQ(refusal(Storage(DType::kF8E4M3, {5, 64}), Storage(DType::kBF16, {1, 1})), "");
  EXPECT_EQ(refusal(Storage(DType::kF8E4M3, {129, 64}), row), "quant_matmul: scale has shape [5, 1], wanted [2, 1]");
  EXPECT_EQ(refusal(x, row), "quant_matmul: w is F32, wanted I8 or I32 or F8_E4M3");
  EXPECT_EQ(refusal(w8, {}), "quant_matmul: scale is missing");
}

}  // namespace
}  // namespace sluice
