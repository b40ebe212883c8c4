#include <bit>
#include <cmath>

#include "ops/hadamard/cases.h"
#include "ops/hadamard/hadamard.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::vector<int64_t> shape_of(const HadamardCase& c) {
  return c.heads ? std::vector<int64_t>{c.rows, c.heads, c.dim} : std::vector<int64_t>{c.rows, c.dim};
}

TEST(Hadamard, MatchesReference) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType out : {DType::kF32, DType::kBF16})
      for (const HadamardCase& c : kHadamardCases)
        for (const int64_t offset : {0, 1}) {  // elements in front of x: an odd address
          const Storage x = random.normal(in, shape_of(c), 2.0, c.row_stride, offset);
          Storage want(out, shape_of(c), c.row_stride);
          HadamardArgs args{.x = x, .y = want};
          ASSERT_TRUE(check_hadamard(args).ok()) << check_hadamard(args).message();
          run_ok(impl_named(hadamard_impls(), "reference"), args);
          for (const auto* impl : runnable(hadamard_impls(), args)) {
            Storage got(out, shape_of(c), c.row_stride);
            args.y = got;
            run_ok(*impl, args);
            const Tolerance limit = out == DType::kF32 ? Tolerance{2e-6, 2e-5} : Tolerance{4e-3, 8e-3};
            expect_close(got, want, limit, std::string(impl->name) + " dim " + std::to_string(c.dim));
          }
        }
}

// The matrix by its definition: entry (i, j) is (-1)^(ones of i & j), of which unit vectors show the columns.
TEST(Hadamard, UnitVectorsGiveTheMatrix) {
  for (const int64_t n : {1, 2, 8, 16, 128, 256}) {
    Storage unit(DType::kF32, {n, n});
    std::vector<double> matrix;
    int64_t at = 0;
    unit.fill([&] {
      const int64_t i = at / n, j = at % n;
      ++at;
      matrix.push_back(float((std::popcount(uint64_t(i & j)) % 2 ? -1 : 1) / std::sqrt(double(n))));
      return i == j ? 1.0 : 0.0;
    });
    for (const auto* impl : runnable(hadamard_impls(), HadamardArgs{.x = unit, .y = unit})) {
      Storage y(DType::kF32, {n, n});
      run_ok(*impl, HadamardArgs{.x = unit, .y = y});
      EXPECT_EQ(y.values(), matrix) << impl->name << " " << n;
    }
  }
}

// Whole numbers whose sums are exact and whose scale is a power of two come back as they were.
TEST(Hadamard, TwiceIsTheIdentity) {
  Random random(2);
  for (const int64_t n : {64, 256, 1024}) {
    Storage x(DType::kF32, {3, n});
    x.fill([&] { return random.integer(-9, 9); });
    for (const auto* impl : runnable(hadamard_impls(), HadamardArgs{.x = x, .y = x})) {
      Storage once(DType::kF32, {3, n}), twice(DType::kF32, {3, n});
      run_ok(*impl, HadamardArgs{.x = x, .y = once});
      run_ok(*impl, HadamardArgs{.x = once, .y = twice});
      EXPECT_EQ(twice.values(), x.values()) << impl->name;
    }
  }
}

// What is not finite spoils its own row only.
TEST(Hadamard, NotFiniteAndTiny) {
  Storage x(DType::kF32, {4, 64});
  int64_t at = 0;
  x.fill([&] {
    const int64_t i = at++;
    return i == 5 ? double(NAN) : i == 64 ? INFINITY : i >= 128 && i < 192 ? 1e-40 : 1.0;
  });
  for (const auto* impl : runnable(hadamard_impls(), HadamardArgs{.x = x, .y = x})) {
    Storage y(DType::kF32, {4, 64});
    run_ok(*impl, HadamardArgs{.x = x, .y = y});
    const std::vector<double> v = y.values();
    for (size_t i = 0; i < 64; ++i) {
      EXPECT_TRUE(std::isnan(v[i])) << impl->name;
      EXPECT_TRUE(std::isinf(v[64 + i])) << impl->name;
      EXPECT_NEAR(v[128 + i], i == 0 ? 8e-40 : 0, 1e-44) << impl->name;
      EXPECT_EQ(v[192 + i], i == 0 ? 8 : 0) << impl->name;
    }
  }
}

TEST(Hadamard, SameBitsAloneInABatchAndInPlace) {
  Random random(3);
  for (const int64_t n : {8, 128, 512}) {
    const Storage x = random.normal(DType::kF32, {257, n});
    const std::vector<double> values = x.values();
    for (const auto* impl : runnable(hadamard_impls(), HadamardArgs{.x = x, .y = x})) {
      Storage whole(DType::kF32, {257, n}), rows(DType::kF32, {257, n}), one_thread(DType::kF32, {257, n});
      Storage in_place(DType::kF32, {257, n});
      size_t i = 0;
      in_place.fill([&] { return values[i++]; });
      run_ok(*impl, HadamardArgs{.x = x, .y = whole});
      run_ok(*impl, HadamardArgs{.x = x, .y = one_thread}, 1);
      run_ok(*impl, HadamardArgs{.x = in_place, .y = in_place});
      for (int64_t r = 0; r < 257; ++r)
        run_ok(*impl, HadamardArgs{.x = x.tensor().slice(0, r, r + 1), .y = rows.tensor().slice(0, r, r + 1)});
      expect_same_bits(whole, rows, impl->name);
      expect_same_bits(whole, one_thread, impl->name);
      expect_same_bits(whole, in_place, impl->name);
    }
  }
}

TEST(Hadamard, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 8}), y(DType::kF32, {2, 4}), ids(DType::kI32, {2, 8}), odd(DType::kF32, {2, 96});
  const Storage none(DType::kF32, {2, 0});
  EXPECT_EQ(check_hadamard({.x = x, .y = y}).message(), "hadamard: y has shape [2, 4], wanted [2, 8]");
  EXPECT_EQ(check_hadamard({.x = ids, .y = x}).message(), "hadamard: x is I32, wanted F32 or BF16");
  EXPECT_EQ(check_hadamard({.x = x, .y = x.tensor().swap_last_two()}).message(),
            "hadamard: y must have stride 1 in its last dimension");
  EXPECT_EQ(check_hadamard({.y = x}).message(), "hadamard: x is missing");
  for (const Storage* t : {&odd, &none})
    EXPECT_EQ(check_hadamard({.x = *t, .y = *t}).message(), "hadamard: x's rows have no power of two of elements");
}

}  // namespace
}  // namespace sluice
