#include "ops/matmul/cases.h"
#include "ops/matmul/matmul.h"
#include "tests/support/op_testing.h"
#include "tests/support/product_limit.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr DType kDTypes[] = {DType::kF32, DType::kBF16};

std::string label(const char* impl, int64_t m, int64_t n, int64_t k, DType x, DType w, DType y) {
  const auto s = [](int64_t i) { return std::to_string(i); };
  return std::string(impl) + " M " + s(m) + " N " + s(n) + " K " + s(k) + " " + std::string(dtype_name(x)) + " x " +
         std::string(dtype_name(w)) + " -> " + std::string(dtype_name(y));
}

// How rows lie. Odd: odd strides everywhere, bf16 operands two bytes off any alignment. Even: those of x and w begin at multiples
// of 16 bytes if K is a multiple of 8, and those of y at pairs if N is one of 2.
enum class Rows { kOdd, kEven };

// The margins around and between rows are NaN, so a product that took anything from beyond a row would show.
void expect_matches_reference(int64_t m, int64_t n, int64_t k, DType xt, DType wt, DType yt, Random& random,
                              Rows rows = Rows::kOdd) {
  const bool odd = rows == Rows::kOdd;
  const Storage x = random.normal(xt, {m, k}, 1, odd ? k + 3 : k + 8, odd),
                w = random.normal(wt, {n, k}, 1, odd ? k + 5 : k + 16, odd);
  Storage want(yt, {m, n}, odd ? n + 7 : n + 4, odd);
  MatmulArgs args{.x = x, .w = w, .y = want};
  ASSERT_TRUE(check_matmul(args).ok()) << check_matmul(args).message();
  run_ok(impl_named(matmul_impls(), "reference"), args);
  for (const auto* impl : runnable(matmul_impls(), args)) {
    Storage got(yt, {m, n}, odd ? n + 7 : n + 4, odd);
    args.y = got;
    run_ok(*impl, args);
    expect_close(got, want, product_limit(want, k), label(impl->name, m, n, k, xt, wt, yt));
  }
}

TEST(Matmul, MatchesReferenceInEveryShape) {
  Random random(1);
  int turn = 0;
  for (const int64_t m : kMatmulRows)
    for (const int64_t n : kMatmulColumns)
      for (const int64_t k : kMatmulDepths) {
        // Every shape in two of the eight dtype combinations (one with both operands bf16), the combinations in turn.
        const DType y = kDTypes[turn % 2], x = kDTypes[turn / 2 % 2], w = x == DType::kBF16 ? DType::kF32 : kDTypes[turn / 4 % 2];
        const bool even = k % 8 == 0 && turn / int(std::size(kMatmulDepths)) % 2;  // of every other number of columns
        expect_matches_reference(m, n, k, DType::kBF16, DType::kBF16, y, random, even ? Rows::kEven : Rows::kOdd);
        expect_matches_reference(m, n, k, x, w, kDTypes[(turn + 1) % 2], random);
        ++turn;
      }
}

TEST(Matmul, MatchesReferenceInEveryDType) {
  Random random(2);
  for (const DType x : kDTypes)
    for (const DType w : kDTypes)
      for (const DType y : kDTypes)
        for (const int64_t m : {1, 16, 33}) {
          expect_matches_reference(m, 50, 1124, x, w, y, random);  // more than one chunk of the dot form, with a tail
          expect_matches_reference(m, 64, 1536, x, w, y, random);
          expect_matches_reference(m, 64, 1544, x, w, y, random, Rows::kEven);
        }
}

// More rows than an item takes, and more columns, so that items are cut both ways.
TEST(Matmul, MatchesReferenceAcrossItems) {
  Random random(3);
  expect_matches_reference(551, 281, 70, DType::kBF16, DType::kBF16, DType::kF32, random);
  expect_matches_reference(551, 70, 40, DType::kF32, DType::kBF16, DType::kBF16, random);
  expect_matches_reference(40, 533, 600, DType::kF32, DType::kF32, DType::kF32, random);
  expect_matches_reference(3, 533, 600, DType::kBF16, DType::kBF16, DType::kF32, random);
}

// On a GPU: tiles for each multiprocessor and more, of the larger kind; and several units of each kind for a block of the few rows'
// form, where segments of K have an odd number of blocks, are ragged, or more than there is to sum.
TEST(Matmul, MatchesReferenceAcrossTheGpu) {
  if (!gpu_context()) GTEST_SKIP() << "there is no GPU";
  Random random(7);
  expect_matches_reference(1537, 1602, 104, DType::kBF16, DType::kBF16, DType::kF32, random, Rows::kEven);
  for (const int64_t n : {4100, 4500})
    for (const int64_t m : {3, 11})
      for (const int64_t k : {40, 264, 1544})
        expect_matches_reference(m, n, k, DType::kBF16, DType::kBF16, DType::kF32, random, Rows::kEven);
}

// Deeper than what one product of the library may sum within the limit.
TEST(Matmul, MatchesReferenceInDepth) {
  Random random(9);
  for (const int64_t k : {4096, 5120, 17408})
    expect_matches_reference(33, 64, k, DType::kBF16, DType::kBF16, DType::kF32, random, Rows::kEven);
}

// Exact in every order of summation: small integers. A row or column that went astray cannot hide in a tolerance.
TEST(Matmul, SmallIntegersAreExact) {
  Random random(4);
  for (const DType t : kDTypes)
    for (const auto& [m, k] : {std::pair<int64_t, int64_t>{1, 77}, {7, 77}, {40, 77}, {7, 80}, {40, 80}}) {
      Storage x(t, {m, k}), w(t, {37, k}), want(DType::kF32, {m, 37});
      x.fill([&] { return random.integer(-8, 8); });
      w.fill([&] { return random.integer(-8, 8); });
      run_ok(impl_named(matmul_impls(), "reference"), MatmulArgs{.x = x, .w = w, .y = want});
      for (const auto* impl : runnable(matmul_impls(), MatmulArgs{.x = x, .w = w, .y = want})) {
        const Storage got(DType::kF32, {m, 37});
        run_ok(*impl, MatmulArgs{.x = x, .w = w, .y = got});
        expect_same_bits(got, want, impl->name);
      }
    }
}

// One row at a time, in batches of every kind, on one thread and on several: the same bits.
TEST(Matmul, SameBitsAloneAndInABatch) {
  Random random(5);
  constexpr int64_t kM = 70, kN = 83;
  for (const int64_t k : {100, 1700, 1704})
    for (const DType t : kDTypes) {
      const Storage x = random.normal(t, {kM, k}), w = random.normal(DType::kBF16, {kN, k});
      for (const auto* impl : runnable(matmul_impls(), MatmulArgs{.x = x, .w = w, .y = Storage(DType::kF32, {kM, kN})})) {
        if (impl->by_batch) continue;
        const Storage whole(DType::kF32, {kM, kN});
        run_ok(*impl, MatmulArgs{.x = x, .w = w, .y = whole});
        for (const int threads : {1, 2})
          for (const int64_t rows : {1, 6, 13, 16, 25, 70}) {
            const Storage parts(DType::kF32, {kM, kN});
            for (int64_t m = 0; m < kM; m += rows) {
              const int64_t end = std::min(m + rows, kM);
              run_ok(*impl, MatmulArgs{.x = x.tensor().slice(0, m, end), .w = w, .y = parts.tensor().slice(0, m, end)}, threads);
            }
            expect_same_bits(
                whole, parts,
                std::string(impl->name) + ", " + std::to_string(rows) + " rows, " + std::to_string(threads) + " threads");
          }
      }
    }
}

// The forms that serve bf16 on a GPU by turns, by how many rows there are, add in one order.
TEST(Matmul, FewRowsHaveTheBitsOfMany) {
  Random random(8);
  const auto &few = impl_named(matmul_impls(), "portable_few"), &many = impl_named(matmul_impls(), "portable_mma");
  for (const int64_t k : {8, 32, 264, 1704, 4096, 4616})
    for (const int64_t m : {1, 8, 9, 16}) {
      const Storage x = random.normal(DType::kBF16, {m, k}), w = random.normal(DType::kBF16, {83, k});
      const Storage a(DType::kF32, {m, 83}), b(DType::kF32, {m, 83});
      const MatmulArgs args{.x = x, .w = w, .y = a};
      if (!runs_here(few, args)) GTEST_SKIP() << "there is no GPU";
      run_ok(few, args);
      run_ok(many, MatmulArgs{.x = x, .w = w, .y = b});
      expect_same_bits(a, b, "M " + std::to_string(m) + " K " + std::to_string(k));
    }
}

// In tiles that fill a GPU, which the kernels for many rows are for.
TEST(Matmul, ManyTilesHaveTheBitsOfFewRows) {
  if (!gpu_context()) GTEST_SKIP() << "there is no GPU";
  Random random(9);
  constexpr int64_t kM = 300, kN = 3005;
  const auto& few = impl_named(matmul_impls(), "portable_few");
  for (const int64_t k : {8, 264, 1704, 4616}) {
    const Storage x = random.normal(DType::kBF16, {kM, k}), w = random.normal(DType::kBF16, {kN, k});
    const Storage want(DType::kF32, {16, kN}), y(DType::kF32, {kM, kN});
    const MatmulArgs all{.x = x, .w = w, .y = y};
    for (const char* form : {"portable_wgmma", "portable_mma"}) {
      const auto& many = impl_named(matmul_impls(), form);
      if (!runs_here(many, all)) continue;
      run_ok(many, all);
      for (const int64_t m : {0, 120, 284}) {
        run_ok(few, MatmulArgs{.x = x.tensor().slice(0, m, m + 16), .w = w, .y = want});
        EXPECT_EQ(std::memcmp(want.tensor().data, y.tensor()[m].data, want.tensor().bytes()), 0)
            << form << " K " << k << " row " << m;
      }
    }
  }
}

// Columns too: an output does not depend on its neighbours in w.
TEST(Matmul, SameBitsForAnySliceOfTheWeights) {
  Random random(6);
  for (const int64_t m : {1, 40}) {
    const Storage x = random.normal(DType::kBF16, {m, 200}), w = random.normal(DType::kBF16, {90, 200});
    for (const auto* impl : runnable(matmul_impls(), MatmulArgs{.x = x, .w = w, .y = Storage(DType::kF32, {m, 90})})) {
      if (impl->by_batch) continue;
      const Storage whole(DType::kF32, {m, 90}), parts(DType::kF32, {m, 90});
      run_ok(*impl, MatmulArgs{.x = x, .w = w, .y = whole});
      for (const auto& [begin, end] : {std::pair{0, 5}, {5, 38}, {38, 90}})
        run_ok(*impl, MatmulArgs{.x = x, .w = w.tensor().slice(0, begin, end), .y = parts.tensor().slice(1, begin, end)});
      expect_same_bits(whole, parts, impl->name);
    }
  }
}

// What is not finite reaches exactly the outputs that use it, from the last elements of ragged rows too.
TEST(Matmul, NanAndInfinityPropagate) {
  constexpr int64_t kN = 21;
  for (const DType t : kDTypes)
    for (const auto& [m, depth] : {std::pair<int64_t, int64_t>{1, 45}, {5, 45}, {35, 45}, {5, 48}, {35, 48}}) {
      Storage x(t, {m, depth}), w(t, {kN, depth});
      x.fill([] { return 1.0; });
      int64_t i = 0;
      w.fill([&] {
        const int64_t n = i / depth, k = i++ % depth;
        return n == 3 && k == depth - 1 ? NAN : n == 20 && k == 0 ? INFINITY : 0.5;
      });
      for (const auto* impl : runnable(matmul_impls(), MatmulArgs{.x = x, .w = w, .y = Storage(DType::kBF16, {m, kN})})) {
        const Storage y(DType::kBF16, {m, kN});
        run_ok(*impl, MatmulArgs{.x = x, .w = w, .y = y});
        const auto v = y.values();
        for (int64_t o = 0; o < m * kN; ++o) {
          const int64_t n = o % kN;
          if (n == 3) EXPECT_TRUE(std::isnan(v[o])) << impl->name;
          else EXPECT_EQ(v[o], n == 20 ? INFINITY : 0.5 * double(depth)) << impl->name << " row " << o / kN << " column " << n;
        }
      }
    }
}

TEST(Matmul, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 8}), w(DType::kF32, {5, 8}), narrow(DType::kF32, {5, 7}), ids(DType::kI32, {5, 8}),
      y(DType::kF32, {2, 5});
  Storage wide(DType::kF32, {2, 16});
  Tensor spread = wide.tensor();
  spread.shape[1] = 8, spread.stride[1] = 2;
  EXPECT_EQ(check_matmul({.x = x, .w = narrow, .y = y}).message(), "matmul: w has shape [5, 7], wanted [5, 8]");
  EXPECT_EQ(check_matmul({.x = x, .w = ids, .y = y}).message(), "matmul: w is I32, wanted F32 or BF16");
  EXPECT_EQ(check_matmul({.x = x, .w = w, .y = x}).message(), "matmul: y has shape [2, 8], wanted [2, 5]");
  EXPECT_EQ(check_matmul({.x = spread, .w = w, .y = y}).message(), "matmul: x must have stride 1 in its last dimension");
  EXPECT_EQ(check_matmul({.x = x, .y = y}).message(), "matmul: w is missing");
}

TEST(Matmul, TileFormsRefuseFp32Operands) {
  const Storage x(DType::kF32, {2, 8}), w(DType::kBF16, {5, 8}), y(DType::kF32, {2, 5});
  for (const char* name : {"few_rows", "portable_mma", "amx", "avx512_bf16"}) {
    const Can can = impl_named(matmul_impls(), name).can({.x = x, .w = w, .y = y});
    ASSERT_FALSE(can.yes());
    EXPECT_STREQ(can.refusal, "x and w are not both BF16");
  }
}

TEST(Matmul, GpuFormsSayWhatTheyRefuse) {
  const auto refusal = [](const char* form, int64_t m, int64_t k, int64_t row, int64_t offset = 0) {
    const Storage x(DType::kBF16, {m, k}, row, offset), w(DType::kBF16, {5, k}), y(DType::kF32, {m, 5});
    const Can c = impl_named(matmul_impls(), form).can({.x = x, .w = w, .y = y});
    return std::string(c.yes() ? "" : c.refusal);
  };
  for (const char* form : {"few_rows", "portable_few", "portable_mma"}) {
    EXPECT_EQ(refusal(form, 8, 24, 24), "");
    EXPECT_EQ(refusal(form, 2, 20, 24), "K is not a multiple of 8");
    EXPECT_EQ(refusal(form, 2, 0, 8), "K is not a multiple of 8");
    for (const int64_t m : {1, 2}) EXPECT_EQ(refusal(form, m, 24, 28), "a row of x or w does not begin at a multiple of 16 bytes");
    EXPECT_EQ(refusal(form, 2, 24, 24, 1), "a row of x or w does not begin at a multiple of 16 bytes");
  }
  EXPECT_EQ(refusal("few_rows", 9, 24, 24), "x has more than 8 rows");
  EXPECT_EQ(refusal("portable_few", 16, 24, 24), "");
  EXPECT_EQ(refusal("portable_few", 17, 24, 24), "x has more than 16 rows");
  EXPECT_EQ(refusal("portable_mma", 17, 24, 24), "");
}

#if SLUICE_HAS_CUBLASLT
TEST(Matmul, CublasltSaysWhatItRefuses) {
  const Storage x(DType::kBF16, {3, 8}), w(DType::kBF16, {5, 8}), y(DType::kF32, {3, 5}), fp32(DType::kF32, {5, 8}),
      x32(DType::kF32, {3, 8}), y16(DType::kBF16, {3, 5}), no_w(DType::kBF16, {5, 0}), no_x(DType::kBF16, {3, 0});
  const auto refusal = [](const MatmulArgs& args) { return std::string(impl_named(matmul_impls(), "cublaslt").can(args).refusal); };
  EXPECT_EQ(refusal({.x = x, .w = fp32, .y = y}), "x and w are of different types");
  EXPECT_EQ(refusal({.x = x32, .w = fp32, .y = y16}), "of F32 operands y is F32 only");
  EXPECT_EQ(refusal({.x = no_x, .w = no_w, .y = y}), "there is nothing to multiply");
  Tensor one_row_for_all = x;
  one_row_for_all.stride[0] = 0;
  EXPECT_EQ(refusal({.x = one_row_for_all, .w = w, .y = y}), "rows overlap");
}
#endif

}  // namespace
}  // namespace sluice
