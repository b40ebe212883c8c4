#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_decode/gdn_decode.h"
#include "ops/gdn_decode_classic/cases.h"
#include "ops/gdn_decode_classic/gdn_decode_classic.h"

namespace sluice {
namespace {

using namespace sluice::testing;

GdnDecodeClassicArgs classic_args(const GdnInputs& in, int64_t begin, int64_t end, const Tensor& slots, const Tensor& state,
                                  const Tensor& o) {
  const GdnArgs a = in.rows(begin, end, o);
  return {.q = a.q,
          .k = a.k,
          .v = a.v,
          .log_g = a.log_g,
          .beta = a.beta,
          .slots = slots,
          .state = state,
          .o = a.o,
          .scale = a.scale,
          .qk_l2norm = true};
}

// At most one unit in the last place between bf16 values: neighbours have neighbouring bits, +0 and -0 aside.
void expect_within_one_ulp(const Storage& got, const Storage& want, const std::string& what) {
  const auto key = [](Bf16 x) { return x.bits & 0x8000 ? 0x8000 - int(x.bits) : int(x.bits); };
  for (int64_t i = 0; i < want.tensor().numel(); ++i)
    ASSERT_LE(std::abs(key(got.tensor().as<Bf16>()[i]) - key(want.tensor().as<Bf16>()[i])), 1) << what << " at " << i;
}

TEST(GdnDecodeClassic, MatchesReference) {
  Random random(1);
  for (const GdnDecodeClassicCase& c : kGdnDecodeClassicCases)
    for (const DType type : {DType::kF32, DType::kBF16}) {
      const GdnInputs in(c.batch, {c.HK, c.HV, c.K, c.V}, Temper::kStrong, type, random);
      std::vector<int64_t> ids;
      for (int64_t b = 0; b < c.batch; ++b) ids.push_back(b == 1 ? -1 : c.batch - b);  // slot 0 is nobody's
      const Storage slots = ints(ids), before = random.normal(type, {c.batch + 1, c.HV, c.K, c.V}, 0.3);
      const auto run = [&](const Impl<GdnDecodeClassicArgs>& impl, Storage& state, Storage& o) {
        copy_into(before, state);
        const auto args = classic_args(in, 0, c.batch, slots, state, o);
        EXPECT_EQ(check_gdn_decode_classic(args).to_string(), "");
        run_ok(impl, args);
      };
      Storage want(type, {c.batch + 1, c.HV, c.K, c.V}), want_o(DType::kF32, {c.batch, c.HV, c.V});
      run(impl_named(gdn_decode_classic_impls(), "reference"), want, want_o);
      for (const auto* impl : runnable(gdn_decode_classic_impls(), classic_args(in, 0, c.batch, slots, before, want_o))) {
        Storage got(type, {c.batch + 1, c.HV, c.K, c.V}), o(DType::kF32, {c.batch, c.HV, c.V});
        run(*impl, got, o);
        const std::string what = std::string(impl->name) + ", K " + std::to_string(c.K) + ", V " + std::to_string(c.V);
        expect_close(o, want_o, kGdnF32, what + ": o");
        if (type == DType::kF32) expect_close(got, want, kGdnF32, what + ": state");
        else expect_within_one_ulp(got, want, what + ": state");
        EXPECT_TRUE(got.margins_intact()) << what;
        if (c.batch < 2) continue;
        const size_t slot = before.tensor()[0].bytes();
        for (const int64_t s : {int64_t(0), c.batch - 1})  // nobody's, and the one that padding left out
          EXPECT_EQ(std::memcmp(got.tensor()[s].data, before.tensor()[s].data, slot), 0) << what << ": slot " << s;
        for (int64_t i = 0; i < c.HV * c.V; ++i) ASSERT_EQ(o.tensor()[1].as<float>()[i], 0.0f) << what << ": padding";
      }
    }
}

// Token by token, the plain state and the open chunk stay together.
TEST(GdnDecodeClassic, FollowsTheOpenChunk) {
  constexpr int64_t kTokens = 130;
  Random random(2);
  const GdnShape d{1, 2, 64, 64};
  const GdnInputs in(kTokens, d, Temper::kMild, DType::kF32, random);
  GdnPool pool(1, d, random);
  Storage state(DType::kF32, {1, d.HV, d.K, d.V}), o(DType::kF32, {kTokens, d.HV, d.V}), want(DType::kF32, {kTokens, d.HV, d.V});
  copy_into(pool.s, state);
  const Storage slots = ints({0}), has = ints({1});
  for (int64_t t = 0; t < kTokens; ++t) {
    ASSERT_TRUE(gdn_decode_classic(context(), classic_args(in, t, t + 1, slots, state, o)).ok());
    const Storage start = ints({t});
    auto args = gdn_args<GdnDecodeArgs>(in.rows(t, t + 1, want));
    args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
    ASSERT_TRUE(gdn_decode(context(), args).ok());
  }
  expect_close(o, want, kGdnF32, "o");
  expect_close(state, closed_states(pool, {0}, {kTokens % 64}), kGdnF32, "state");
}

TEST(GdnDecodeClassic, SameBitsAloneAndInABatch) {
  Random random(3);
  const GdnShape d{2, 4, 64, 48};
  const GdnInputs in(5, d, Temper::kMild, DType::kBF16, random);
  const Storage before = random.normal(DType::kF32, {5, d.HV, d.K, d.V}), all = ints({4, 2, 0, 1, 3});
  for (const auto* impl : runnable(gdn_decode_classic_impls(), classic_args(in, 0, 5, all, before, before))) {
    Storage together(DType::kF32, {5, d.HV, d.K, d.V}), alone(DType::kF32, {5, d.HV, d.K, d.V});
    copy_into(before, together), copy_into(before, alone);
    const Storage o(DType::kBF16, {5, d.HV, d.V}), got(DType::kBF16, {5, d.HV, d.V});
    run_ok(*impl, classic_args(in, 0, 5, all, together, o));
    for (int64_t b = 0; b < 5; ++b) run_ok(*impl, classic_args(in, b, b + 1, all.tensor().slice(0, b, b + 1), alone, got), 1);
    expect_same_bits(got, o, impl->name);
    expect_same_bits(alone, together, impl->name);
  }
}

// What the host cannot see: a slot behind the pool is padding.
TEST(GdnDecodeClassic, SlotsBehindThePoolArePaddingOnAGpu) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here";
  Random random(5);
  const GdnInputs in(2, {1, 2, 128, 128}, Temper::kMild, DType::kF32, random);
  const Storage before = random.normal(DType::kF32, {3, 2, 128, 128}), slots = ints({3, 1 << 30}), o(DType::kF32, {2, 2, 128});
  Storage state(DType::kF32, {3, 2, 128, 128});
  copy_into(before, state);
  const auto args = classic_args(in, 0, 2, slots, state, o);
  for (const auto* impl : runnable(gdn_decode_classic_impls(), args)) {
    if (!is_gpu(impl->isa)) continue;
    run_ok(*impl, args);
    EXPECT_EQ(o.values(), std::vector<double>(2 * 2 * 128, 0.0)) << impl->name;
    expect_same_bits(state, before, impl->name);
  }
}

TEST(GdnDecodeClassic, RefusesBadArguments) {
  Random random(4);
  const GdnInputs in(2, {1, 2, 16, 16}, Temper::kMild, DType::kF32, random);
  const Storage slots = ints({0, 3}), state(DType::kF32, {3, 2, 16, 16}), wide(DType::kF32, {3, 2, 16, 32}),
                o(DType::kF32, {2, 2, 16});
  const Storage half(DType::kF16, {3, 2, 16, 16});
  EXPECT_EQ(check_gdn_decode_classic(classic_args(in, 0, 2, slots, state, o)).message(),
            "gdn_decode_classic: sequence 1 has slot 3, wanted less than 3");
  EXPECT_EQ(check_gdn_decode_classic(classic_args(in, 0, 2, slots, wide, o)).message(),
            "gdn_decode_classic: v has shape [2, 2, 16], wanted [2, 2, 32]");
  EXPECT_EQ(check_gdn_decode_classic(classic_args(in, 0, 2, slots, half, o)).message(),
            "gdn_decode_classic: state is F16, wanted F32 or BF16");
}

}  // namespace
}  // namespace sluice
