#include <numeric>

#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_prefill/cases.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::vector<int64_t> cumulative(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> cu{0};
  for (int64_t n : lengths) cu.push_back(cu.back() + n);
  return cu;
}

// Appends the rows that `starts` say are open, with the reference.
void open_rows(GdnPool& pool, const GdnPrefillCase& c, const std::vector<int64_t>& slots, Random& random) {
  for (size_t b = 0; b < c.starts.size(); ++b) {
    const int64_t n = c.starts[b] % 64;
    if (n == 0) continue;
    const GdnInputs in(n, {c.HK, c.HV, c.K, c.V}, Temper::kMild, DType::kF32, random);
    const Storage o(DType::kF32, {n, c.HV, c.V}), cu = ints({0, n}), start = ints({c.starts[b] - n}), slot = ints({slots[b]});
    const Storage has = ints({1});
    auto args = gdn_args<GdnPrefillArgs>(in.rows(0, n, o));
    args.cu_seqlens = cu, args.start = start, args.slots = slot, args.has_state = has, args.state = pool.state();
    run_ok(impl_named(gdn_prefill_impls(), "reference"), args);
  }
}

struct Types {
  DType in, out;
};

void match_reference(const GdnPrefillCase& c, Temper temper, Types types, uint64_t seed) {
  Random random(seed);
  const GdnShape d{c.HK, c.HV, c.K, c.V};
  const int64_t B = int64_t(c.lengths.size()), T = std::accumulate(c.lengths.begin(), c.lengths.end(), int64_t(0));
  std::vector<int64_t> slots(B), open(B);
  for (int64_t b = 0; b < B; ++b) slots[b] = B - b, open[b] = (c.starts[b] + c.lengths[b]) % 64;  // slot 0 is nobody's
  GdnPool before(B + 1, d, random);
  open_rows(before, c, slots, random);
  const GdnInputs in(T, d, temper, types.in, random);
  const Storage cu = ints(cumulative(c.lengths)), start = ints(c.starts), ids = ints(slots);
  const auto run = [&](const Impl<GdnPrefillArgs>& impl, GdnPool& pool, Storage& o) {
    auto args = gdn_args<GdnPrefillArgs>(in.rows(0, T, o));
    args.cu_seqlens = cu, args.start = start, args.slots = ids, args.state = pool.state();
    const Status ok = check_gdn_prefill(args);
    ASSERT_TRUE(ok.ok()) << ok.to_string();
    run_ok(impl, args);
  };
  GdnPool want(before);
  Storage want_o(types.out, {T, c.HV, c.V}, c.HV * c.V + 16);
  run(impl_named(gdn_prefill_impls(), "reference"), want, want_o);
  const Storage want_s = closed_states(want, slots, open);
  for (const char* form : {"cpu", "avx512"}) {
    const auto& impl = impl_named(gdn_prefill_impls(), form);
    if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
    GdnPool got(before);
    Storage o(types.out, {T, c.HV, c.V}, c.HV * c.V + 16);
    run(impl, got, o);
    const std::string what = std::string(form) + ", " + name(temper) + ", K " + std::to_string(c.K) + ", V " + std::to_string(c.V);
    expect_close(o, want_o, types.out == DType::kF32 ? kGdnF32 : kGdnBf16, what + ": o");
    expect_close(closed_states(got, slots, open), want_s, kGdnF32, what + ": state");
    expect_same_open_chunk(got, before, 0, 64, what + ": a slot that was not named");
    EXPECT_TRUE(got.s.margins_intact() && got.k.margins_intact() && got.u.margins_intact() && got.g.margins_intact()) << what;
  }
}

TEST(GdnPrefill, MatchesReference) {
  uint64_t seed = 1;
  for (const GdnPrefillCase& c : kGdnPrefillCases)
    for (const Temper t : {Temper::kMild, Temper::kStrong, Temper::kReflecting, Temper::kCorrelated})
      match_reference(c, t, {DType::kF32, DType::kF32}, seed++);
}

TEST(GdnPrefill, ServesBf16) {
  match_reference(kGdnPrefillCases[1], Temper::kMild, {DType::kBF16, DType::kF32}, 50);
  match_reference(kGdnPrefillCases[5], Temper::kMild, {DType::kBF16, DType::kBF16}, 51);
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
  Random random(4);
  const GdnShape d{1, 2, 32, 16};
  const GdnInputs in(6, d, Temper::kMild, DType::kF32, random);
  const Storage cu = ints({0, 2, 2, 6}), start = ints({9, 0, 0}), slots = ints({-1, 1, 2});
  for (const auto& impl : gdn_prefill_impls()) {
    if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
    GdnPool pool(3, d);  // all NaN: nothing of a new sequence's slot may be read
    const Storage o(DType::kF32, {6, 2, 16});
    auto args = gdn_args<GdnPrefillArgs>(in.rows(0, 6, o));
    args.cu_seqlens = cu, args.start = start, args.slots = slots, args.state = pool.state();
    run_ok(impl, args);
    const std::vector<double> y = o.values();
    EXPECT_EQ(std::vector<double>(y.begin(), y.begin() + 64), std::vector<double>(64, 0.0)) << impl.name;
    for (double x : y) ASSERT_TRUE(std::isfinite(x)) << impl.name;
    const Storage untouched(DType::kF32, {2, 32, 16});
    EXPECT_EQ(std::memcmp(pool.s.tensor().data, untouched.tensor().data, untouched.tensor().bytes()), 0) << impl.name;
    for (int i = 0; i < 2 * 32 * 16; ++i) ASSERT_EQ(pool.s.tensor()[1].as<float>()[i], 0.0f) << impl.name;
  }
}

// One sequence of 300 rows in pieces of a given length, and others beside it.
struct Cuts {
  static constexpr int64_t kRows = 300;
  GdnShape d;
  Random random{7};
  GdnPool before{3, d, random};
  GdnInputs in{kRows, d, Temper::kStrong, DType::kF32, random};

  void run(const Impl<GdnPrefillArgs>& impl, int64_t piece, int threads, GdnPool& pool, Storage& o) const {
    for (int64_t t = 0; t < kRows; t += piece) {
      const int64_t n = std::min(piece, kRows - t);
      const Storage cu = ints({0, n}), start = ints({t}), slots = ints({1}), has = ints({1});
      auto args = gdn_args<GdnPrefillArgs>(in.rows(t, t + n, o));
      args.cu_seqlens = cu, args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
      run_ok(impl, args, threads);
    }
  }
};

TEST(GdnPrefill, SameBitsInPiecesAndWithOneThread) {
  for (const GdnShape d : {GdnShape{2, 4, 128, 128}, GdnShape{1, 1, 48, 80}})
    for (const char* form : {"cpu", "avx512"}) {
      const auto& impl = impl_named(gdn_prefill_impls(), form);
      if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
      const Cuts c{.d = d};
      GdnPool whole(c.before);
      Storage o(DType::kF32, {c.kRows, d.HV, d.V});
      c.run(impl, c.kRows, 2, whole, o);
      for (const int64_t piece : {1, 3, 4, 7, 64, 100})
        for (const int threads : {1, 2}) {
          GdnPool pool(c.before);
          Storage got(DType::kF32, {c.kRows, d.HV, d.V});
          c.run(impl, piece, threads, pool, got);
          const std::string what = std::string(form) + " in pieces of " + std::to_string(piece);
          expect_same_bits(got, o, what + ": o");
          expect_same_pool(pool, whole, what);
        }
    }
}

TEST(GdnPrefill, SameBitsAloneAndInABatch) {
  Random random(8);
  const GdnShape d{2, 2, 64, 64};
  const std::vector<int64_t> lengths{65, 3, 130}, cu = cumulative(lengths), starts{0, 64, 192};
  const GdnInputs in(cu.back(), d, Temper::kMild, DType::kBF16, random);
  const GdnPool before(3, d, random);
  for (const char* form : {"cpu", "avx512"}) {
    const auto& impl = impl_named(gdn_prefill_impls(), form);
    if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
    GdnPool together(before), alone(before);
    const Storage o(DType::kBF16, {cu.back(), 2, 64}), got(DType::kBF16, {cu.back(), 2, 64});
    const Storage all_cu = ints(cu), all_starts = ints(starts), all_slots = ints({2, 0, 1});
    auto args = gdn_args<GdnPrefillArgs>(in.rows(0, cu.back(), o));
    args.cu_seqlens = all_cu, args.start = all_starts, args.slots = all_slots, args.state = together.state();
    run_ok(impl, args);
    for (int b : {2, 0, 1}) {
      const Storage one_cu = ints({0, lengths[b]}), one_start = ints({starts[b]}),
                    one_slot = ints({std::vector<int64_t>{2, 0, 1}[b]});
      auto one = gdn_args<GdnPrefillArgs>(in.rows(cu[b], cu[b + 1], got));
      one.cu_seqlens = one_cu, one.start = one_start, one.slots = one_slot, one.state = alone.state();
      run_ok(impl, one);
    }
    expect_same_bits(got, o, form);
    expect_same_pool(alone, together, form);
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
