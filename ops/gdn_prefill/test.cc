#include "ops/gdn_prefill/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr DType kFloats[] = {DType::kF32, DType::kBF16};

TEST(GdnPrefill, MatchesReference) {
  uint64_t seed = 1;
  for (const GdnPrefillCase& c : kGdnPrefillCases)
    for (const Temper t : {Temper::kMild, Temper::kStrong, Temper::kReflecting, Temper::kCorrelated})
      for (const DType in : kFloats) GdnPrefillProblem(c, {.in = in, .temper = t}, seed++).expect_forms_match();
}

TEST(GdnPrefill, RoundsOutputsToBf16) {
  uint64_t seed = 50;
  for (const GdnPrefillCase& c : kGdnPrefillCases)
    for (const DType in : kFloats) GdnPrefillProblem(c, {.in = in, .out = DType::kBF16}, seed++).expect_forms_match();
}

TEST(GdnPrefill, ClosesChunksAtEveryCapacityAndInBothTypes) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows and an fp32 pool";
  uint64_t seed = 100;
  for (const GdnPrefillCase& c : kGdnPrefillCases)
    for (const int64_t R : {16, 32, 64})
      for (const DType state : kFloats)
        for (const DType in : kFloats) GdnPrefillProblem(c, {.in = in, .state = state, .R = R}, seed++).expect_forms_match();
}

TEST(GdnPrefill, OddDimensionsGoToTheReference) {
  Random random(3);
  const GdnShape d{1, 2, 20, 13};
  const GdnInputs in(70, d, Temper::kMild, DType::kF32, random);
  GdnPool pool(1, d, random);
  const Storage o(DType::kF32, {70, 2, 13}), cu = ints({0, 70}), start = ints({0}), slots = ints({0});
  auto args = gdn_args<GdnPrefillArgs>(in.rows(0, 70, o));
  args.cu_seqlens = cu, args.start = start, args.slots = slots, args.state = pool.state();
  const auto chosen = choose_impl("gdn_prefill", gdn_prefill_impls(), context(), args);
  ASSERT_TRUE(chosen.ok());
  EXPECT_STREQ((*chosen)->name, "reference");
  EXPECT_TRUE(gdn_prefill(context(), args).ok());
  for (double x : o.values()) ASSERT_TRUE(std::isfinite(x));
}

TEST(GdnPrefill, PaddingAndNewSequences) {
  for (const GdnShape d : {GdnShape{1, 2, 32, 16}, GdnShape{1, 2, 128, 128}}) {
    Random random(4);
    const GdnInputs in(6, d, Temper::kMild, DType::kBF16, random);
    const Storage cu = ints({0, 2, 2, 6}), start = ints({9, 0, 0}), slots = ints({-1, 1, 2});
    const auto call = [&](const GdnPool& pool, const Tensor& o) {
      auto args = gdn_args<GdnPrefillArgs>(in.rows(0, 6, o));
      args.cu_seqlens = cu, args.start = start, args.slots = slots, args.state = pool.state();
      return args;
    };
    const GdnPool poison(3, d);  // all NaN: nothing of a new sequence's slot may be read
    const Storage any(DType::kF32, {6, 2, d.V});
    for (const GdnPrefillImpl* impl : runnable(gdn_prefill_impls(), call(poison, any))) {
      const GdnPool pool(poison);
      const Storage o(DType::kF32, {6, 2, d.V});
      run_ok(*impl, call(pool, o));
      const std::vector<double> y = o.values();
      EXPECT_EQ(std::vector<double>(y.begin(), y.begin() + 4 * d.V), std::vector<double>(4 * d.V, 0.0)) << impl->name;
      for (double x : y) ASSERT_TRUE(std::isfinite(x)) << impl->name;
      expect_same_open_chunk(pool, poison, 0, 64, impl->name);
      for (int64_t i = 0; i < 2 * d.K * d.V; ++i) ASSERT_EQ(pool.s.tensor()[1].as<float>()[i], 0.0f) << impl->name;
    }
  }
}

TEST(GdnPrefill, NothingToDo) {
  Random random(5);
  const GdnShape d{1, 2, 128, 128};
  const GdnInputs in(0, d, Temper::kMild, DType::kBF16, random);
  const Storage o(DType::kBF16, {0, 2, 128}), none = ints({}), one_zero = ints({0}), no_rows = ints({0, 0}), start = ints({70}),
                                              slot = ints({1});
  const GdnPool before(2, d, random);
  for (const bool sequence : {false, true}) {
    const auto call = [&](const GdnPool& pool) {
      auto args = gdn_args<GdnPrefillArgs>(in.rows(0, 0, o));
      args.state = pool.state();
      if (sequence) args.cu_seqlens = no_rows, args.start = start, args.slots = slot;
      else args.cu_seqlens = one_zero, args.start = none, args.slots = none;
      return args;
    };
    for (const GdnPrefillImpl* impl : runnable(gdn_prefill_impls(), call(before))) {
      const GdnPool pool(before);
      run_ok(*impl, call(pool));
      expect_same_pool(pool, before, impl->name);
    }
  }
}

// One sequence of 300 rows in pieces of a given length, and others beside it.
struct Cuts {
  static constexpr int64_t kRows = 300;
  GdnShape d;
  int64_t R = 64;
  DType state = DType::kF32;
  Random random{7};
  GdnPool before{GdnPool(3, d, random, R), state};
  GdnInputs in{kRows, d, Temper::kStrong, DType::kF32, random};

  void run(const GdnPrefillImpl& impl, int64_t piece, int threads, GdnPool& pool, Storage& o) const {
    for (int64_t t = 0; t < kRows; t += piece) {
      const int64_t n = std::min(piece, kRows - t);
      const Storage cu = ints({0, n}), start = ints({t}), slots = ints({1}), has = ints({1});
      auto args = gdn_args<GdnPrefillArgs>(in.rows(t, t + n, o));
      args.cu_seqlens = cu, args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
      run_ok(impl, args, threads);
    }
  }
  std::vector<const GdnPrefillImpl*> forms() const {
    const Storage o(DType::kF32, {kRows, d.HV, d.V}), two = ints({0, kRows}), one = ints({0});
    auto args = gdn_args<GdnPrefillArgs>(in.rows(0, kRows, o));
    args.cu_seqlens = two, args.start = one, args.slots = one, args.state = before.state();
    std::vector<const GdnPrefillImpl*> all = prefill_forms(args);
    std::erase_if(all, [](const GdnPrefillImpl* f) { return !batch_invariant(*f); });
    return all;
  }
};

void expect_same_bits_in_pieces(const Cuts& c) {
  for (const GdnPrefillImpl* impl : c.forms()) {
    GdnPool whole(c.before);
    Storage o(DType::kF32, {c.kRows, c.d.HV, c.d.V});
    c.run(*impl, c.kRows, 2, whole, o);
    for (const int64_t piece : {1, 3, 4, 7, 64, 100})
      for (const int threads : {1, 2}) {
        if (is_gpu(impl->isa) && threads > 1) continue;
        GdnPool pool(c.before);
        Storage got(DType::kF32, {c.kRows, c.d.HV, c.d.V});
        c.run(*impl, piece, threads, pool, got);
        const std::string what = std::string(impl->name) + ", R " + std::to_string(c.R) + ", in pieces of " + std::to_string(piece);
        expect_same_bits(got, o, what + ": o");
        for (const int64_t slot : {0, 1, 2}) expect_same_open_chunk(pool, whole, slot, slot == 1 ? c.kRows % c.R : c.R, what);
      }
  }
}

TEST(GdnPrefill, SameBitsInPiecesAndWithOneThread) {
  for (const GdnShape d : {GdnShape{2, 4, 128, 128}, GdnShape{1, 1, 48, 80}}) expect_same_bits_in_pieces({.d = d});
}

TEST(GdnPrefill, SameBitsInPiecesAtEveryCapacityAndInBf16) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows and an fp32 pool";
  const GdnShape d{1, 2, 64, 64};
  expect_same_bits_in_pieces({.d = d, .R = 16});
  expect_same_bits_in_pieces({.d = d, .R = 32});
  expect_same_bits_in_pieces({.d = d, .state = DType::kBF16});
}

TEST(GdnPrefill, SameBitsAloneAndInABatch) {
  Random random(8);
  const GdnShape d{2, 2, 64, 64};
  const std::vector<int64_t> lengths{65, 3, 130}, cu = cumulative(lengths), starts{0, 64, 192}, slots{2, 0, 1};
  const GdnInputs in(cu.back(), d, Temper::kMild, DType::kBF16, random);
  const GdnPool before(3, d, random);
  const Storage o(DType::kBF16, {cu.back(), 2, 64}), all_cu = ints(cu), all_starts = ints(starts), all_slots = ints(slots);
  const auto together = [&](const GdnPool& pool) {
    auto args = gdn_args<GdnPrefillArgs>(in.rows(0, cu.back(), o));
    args.cu_seqlens = all_cu, args.start = all_starts, args.slots = all_slots, args.state = pool.state();
    return args;
  };
  for (const GdnPrefillImpl* impl : prefill_forms(together(before))) {
    if (!batch_invariant(*impl)) continue;
    GdnPool batch(before), alone(before);
    run_ok(*impl, together(batch));
    const Storage got(DType::kBF16, {cu.back(), 2, 64});
    for (int b : {2, 0, 1}) {
      const Storage one_cu = ints({0, lengths[b]}), one_start = ints({starts[b]}), one_slot = ints({slots[b]});
      auto one = gdn_args<GdnPrefillArgs>(in.rows(cu[b], cu[b + 1], got));
      one.cu_seqlens = one_cu, one.start = one_start, one.slots = one_slot, one.state = alone.state();
      run_ok(*impl, one);
    }
    expect_same_bits(got, o, impl->name);
    for (int b : {0, 1, 2}) expect_same_open_chunk(alone, batch, slots[b], (starts[b] + lengths[b]) % 64, impl->name);
  }
}

// The message of check_gdn_prefill after one change to arguments that pass.
template <class Change>
std::string refusal(Change&& change) {
  Random random(9);
  const GdnShape d{1, 2, 16, 16};
  const GdnInputs in(4, d, Temper::kMild, DType::kF32, random);
  const GdnPool pool(2, d, random);
  const Storage o(DType::kF32, {4, 2, 16}), cu = ints({0, 3, 4}), start = ints({0, 65}), slots = ints({0, 1}), has = ints({0, 1});
  auto args = gdn_args<GdnPrefillArgs>(in.rows(0, 4, o));
  args.cu_seqlens = cu, args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
  EXPECT_EQ(check_gdn_prefill(args).to_string(), "");
  change(args);
  return check_gdn_prefill(args).message();
}

TEST(GdnPrefill, RefusesBadArguments) {
  const Storage ids = ints({0, 2}), rising = ints({0, 5, 4}), past = ints({0, 3, 9}), starts = ints({3, 0}),
                negative = ints({0, -1});
  const Storage k(DType::kF32, {4, 2, 16}), v(DType::kI32, {4, 2, 16}), s(DType::kF32, {2, 2, 16, 17}),
      u(DType::kF32, {2, 2, 63, 16});
  EXPECT_EQ(refusal([&](auto& a) { a.k = k; }), "gdn_prefill: k has shape [4, 2, 16], wanted [4, 1, 16]");
  EXPECT_EQ(refusal([&](auto& a) { a.v = v; }), "gdn_prefill: v is I32, wanted F32 or BF16");
  EXPECT_EQ(refusal([&](auto& a) { a.o = {}; }), "gdn_prefill: o is missing");
  EXPECT_EQ(refusal([&](auto& a) { a.q.stride[2] = 2; }), "gdn_prefill: q must have stride 1 in its last dimension");
  EXPECT_EQ(refusal([&](auto& a) { a.state.u = u; }), "gdn_prefill: state.u has shape [2, 2, 63, 16], wanted [2, 2, 64, 16]");
  EXPECT_EQ(refusal([&](auto& a) { a.state.s = s; }), "gdn_prefill: state.u has shape [2, 2, 64, 16], wanted [2, 2, 64, 17]");
  EXPECT_EQ(refusal([&](auto& a) { a.state.s.stride[2] = 32; }), "gdn_prefill: state.s must be dense within a slot");
  EXPECT_EQ(refusal([&](auto& a) { a.cu_seqlens = {}; }), "gdn_prefill: cu_seqlens is missing");
  EXPECT_EQ(refusal([&](auto& a) { a.cu_seqlens = rising; }), "gdn_prefill: sequence 0 has rows 0 to 5 of 4");
  EXPECT_EQ(refusal([&](auto& a) { a.cu_seqlens = past; }), "gdn_prefill: sequence 1 has rows 3 to 9 of 4");
  EXPECT_EQ(refusal([&](auto& a) { a.slots = ids; }), "gdn_prefill: sequence 1 has slot 2, wanted less than 2");
  EXPECT_EQ(refusal([&](auto& a) { a.start = negative; }), "gdn_prefill: sequence 1 starts at -1, wanted 0 or more");
  EXPECT_EQ(refusal([&](auto& a) { a.start = starts; }), "gdn_prefill: sequence 0 is new and has 3 open rows, wanted none");
}

}  // namespace
}  // namespace sluice
