#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_close/gdn_close.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// Rows [0, n) of every slot hold a chunk as it may be: normal keys and corrections, G falling.
void fill_rows(GdnPool& pool, int64_t n, Random& random) {
  const auto first_rows = [&, R = pool.rows()](Storage& x, int64_t row_size, auto&& next) {  // x is [.., R, row_size]
    int64_t i = 0;
    x.fill([&] { return i++ / row_size % R < n ? next() : NAN; });
  };
  first_rows(pool.k, 1, [&] { return random.normal(0, 0.1); });
  first_rows(pool.u, pool.s.tensor().dim(3), [&] { return random.normal(); });
  double g = 0;
  int64_t i = 0;
  first_rows(pool.g, 1, [&] { return g = (i++ % n ? g : 0) - random.uniform(0, 1); });
}

// S is rounded where it is closed.
Tolerance tolerance_of(DType state) { return state == DType::kF32 ? kGdnF32 : kGdnBf16; }

void match_reference(const GdnShape& d, int64_t R, DType state, Random& random) {
  for (const int64_t n : {1, 15, 16, 32, 33, 63, 64}) {
    if (n > R) break;
    GdnPool before(GdnPool(4, d, random, R), state);
    fill_rows(before, n, random);
    const Storage slots = ints({2, -1, 0, 3}), rows = ints({n, 99, n, 0});  // slot 3 has no rows, slot 1 is not named
    GdnPool want(before, DType::kF32);
    run_ok(impl_named(gdn_close_impls(), "reference"), GdnCloseArgs{.slots = slots, .rows = rows, .state = want.state()});
    for (const auto& impl : gdn_close_impls()) {
      GdnPool got(before), one_thread(before);
      const GdnCloseArgs args{.slots = slots, .rows = rows, .state = got.state()};
      if (!runs_here(impl, args) || (state != DType::kF32 && !is_gpu(impl.isa))) continue;
      if (state == DType::kF32) {
        EXPECT_EQ(check_gdn_close(args).to_string(), "");
      }
      run_ok(impl, args);
      const std::string what = std::string(impl.name) + ", " + std::to_string(n) + " rows of " + std::to_string(R);
      expect_close(got.s, want.s, tolerance_of(state), what);
      for (const int64_t slot : {1, 3}) expect_same_open_chunk(got, before, slot, R, what + ": a slot that was not named");
      expect_same_bits(got.k, before.k, what), expect_same_bits(got.u, before.u, what), expect_same_bits(got.g, before.g, what);
      run_ok(impl, GdnCloseArgs{.slots = slots, .rows = rows, .state = one_thread.state()}, 1);
      expect_same_pool(one_thread, got, what + ": one thread");
    }
  }
}

TEST(GdnClose, MatchesReference) {
  Random random(1);
  for (const GdnShape d : {GdnShape{1, 2, 128, 128}, GdnShape{2, 6, 48, 80}}) match_reference(d, 64, DType::kF32, random);
}

TEST(GdnClose, MatchesReferenceAtEveryCapacityAndInBothTypes) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows and an fp32 pool";
  Random random(3);
  for (const GdnShape d : {GdnShape{1, 2, 128, 128}, GdnShape{1, 3, 16, 256}, GdnShape{1, 1, 256, 16}, GdnShape{1, 1, 160, 224}})
    for (const int64_t R : {16, 32, 64})
      for (const DType state : {DType::kF32, DType::kBF16}) match_reference(d, R, state, random);
}

TEST(GdnClose, RefusesBadArguments) {
  Random random(2);
  const GdnPool pool(2, {1, 1, 16, 16}, random);
  const Storage slots = ints({0, 2}), one = ints({0}), many = ints({65}), rows = ints({0, 1});
  EXPECT_EQ(check_gdn_close({.slots = slots, .rows = rows, .state = pool.state()}).message(),
            "gdn_close: sequence 1 has slot 2, wanted less than 2");
  EXPECT_EQ(check_gdn_close({.slots = one, .rows = many, .state = pool.state()}).message(),
            "gdn_close: sequence 0 has 65 open rows, wanted 0 to 64");
  EXPECT_EQ(check_gdn_close({.slots = one, .rows = rows, .state = pool.state()}).message(),
            "gdn_close: rows has shape [2], wanted [1]");
  EXPECT_EQ(check_gdn_close({.slots = one, .rows = one}).message(), "gdn_close: state.s is missing");
}

}  // namespace
}  // namespace sluice
