#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_decode/cases.h"
#include "ops/gdn_decode/gdn_decode.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// Rows of one sequence in one call of gdn_prefill.
void prefill(const char* form, const GdnInputs& in, int64_t begin, int64_t end, int64_t slot, GdnPool& pool, const Tensor& o) {
  const Storage cu = ints({0, end - begin}), start = ints({begin}), slots = ints({slot}), has = ints({1});
  auto args = gdn_args<GdnPrefillArgs>(in.rows(begin, end, o));
  args.cu_seqlens = cu, args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
  run_ok(impl_named(gdn_prefill_impls(), form), args);
}

TEST(GdnDecode, MatchesReference) {
  Random random(1);
  for (const GdnDecodeCase& c : kGdnDecodeCases)
    for (const int64_t open : kGdnDecodeRows) {
      const GdnShape d{c.HK, c.HV, c.K, c.V};
      GdnPool before(4, d, random);
      const GdnInputs history(63, d, Temper::kMild, DType::kF32, random);
      const Storage unused(DType::kF32, {63, c.HV, c.V});
      for (const int64_t slot : {1, 3}) prefill("reference", history, 0, open, slot, before, unused);
      // Two sequences in the middle, one that is new, and one of padding.
      const Storage start = ints({open, 64 + open, 0, 0}), slots = ints({1, 3, 0, -1});
      const GdnInputs in(4, d, Temper::kStrong, DType::kBF16, random);
      const auto run = [&](const Impl<GdnDecodeArgs>& impl, GdnPool& pool, Storage& o) {
        auto args = gdn_args<GdnDecodeArgs>(in.rows(0, 4, o));
        const Storage has = ints({1, 1, 0, 0});
        args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
        const Status ok = check_gdn_decode(args);
        ASSERT_TRUE(ok.ok()) << ok.to_string();
        run_ok(impl, args);
      };
      GdnPool want(before);
      Storage want_o(DType::kF32, {4, c.HV, c.V});
      run(impl_named(gdn_decode_impls(), "reference"), want, want_o);
      const std::vector<int64_t> ids{1, 3, 0}, rows{(open + 1) % 64, (open + 1) % 64, 1};
      const Storage want_s = closed_states(want, ids, rows);
      for (const char* form : {"cpu", "avx512"}) {
        const auto& impl = impl_named(gdn_decode_impls(), form);
        if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
        GdnPool got(before);
        Storage o(DType::kF32, {4, c.HV, c.V});
        run(impl, got, o);
        const std::string what =
            std::string(form) + ", K " + std::to_string(c.K) + ", V " + std::to_string(c.V) + ", row " + std::to_string(open);
        expect_close(o, want_o, kGdnF32, what + ": o");
        expect_close(closed_states(got, ids, rows), want_s, kGdnF32, what + ": state");
        expect_same_open_chunk(got, before, 2, 64, what + ": a slot that was not named");
        for (int64_t i = 0; i < c.HV * c.V; ++i) ASSERT_EQ(o.tensor()[3].as<float>()[i], 0.0f) << what;
      }
    }
}

// Two sequences of 300 tokens, step by step, against each in one call of gdn_prefill.
TEST(GdnDecode, SameBitsAsPrefill) {
  constexpr int64_t kTokens = 300;
  Random random(2);
  for (const GdnShape d : {GdnShape{1, 2, 128, 128}, GdnShape{2, 2, 48, 80}}) {
    const GdnPool before(2, d, random);
    const GdnInputs first(kTokens, d, Temper::kStrong, DType::kF32, random), second(kTokens, d, Temper::kMild, DType::kF32, random);
    for (const char* form : {"cpu", "avx512"}) {
      const auto& impl = impl_named(gdn_decode_impls(), form);
      if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
      GdnPool want(before);
      const Storage want_first(DType::kF32, {kTokens, d.HV, d.V}), want_second(DType::kF32, {kTokens, d.HV, d.V});
      prefill(form, first, 0, kTokens, 0, want, want_first);
      prefill(form, second, 0, kTokens, 1, want, want_second);
      for (const int threads : {1, 2}) {
        GdnPool pool(before);
        const Storage o_first(DType::kF32, {kTokens, d.HV, d.V}), o_second(DType::kF32, {kTokens, d.HV, d.V});
        for (int64_t t = 0; t < kTokens; ++t)
          for (const int64_t slot : {1, 0}) {
            const Storage start = ints({t}), slots = ints({slot}), has = ints({1});
            auto args = gdn_args<GdnDecodeArgs>(slot ? second.rows(t, t + 1, o_second) : first.rows(t, t + 1, o_first));
            args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
            run_ok(impl, args, threads);
          }
        expect_same_bits(o_first, want_first, form);
        expect_same_bits(o_second, want_second, form);
        expect_same_pool(pool, want, form);
      }
    }
  }
}

TEST(GdnDecode, SameBitsAloneAndInABatch) {
  constexpr int64_t kBatch = 5;
  Random random(3);
  const GdnShape d{2, 4, 64, 64};
  const GdnPool before(kBatch, d, random);
  const GdnInputs in(kBatch, d, Temper::kMild, DType::kBF16, random);
  for (const char* form : {"cpu", "avx512"}) {
    const auto& impl = impl_named(gdn_decode_impls(), form);
    if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
    GdnPool together(before), alone(before);
    const Storage o(DType::kBF16, {kBatch, 4, 64}), got(DType::kBF16, {kBatch, 4, 64});
    const auto run = [&](int64_t begin, int64_t end, GdnPool& pool, const Storage& out) {
      std::vector<int64_t> ids;
      for (int64_t b = begin; b < end; ++b) ids.push_back(kBatch - 1 - b);
      const Storage slots = ints(ids), start = ints(std::vector<int64_t>(ids.size(), 128)),
                    has = ints(std::vector<int64_t>(ids.size(), 1));
      auto args = gdn_args<GdnDecodeArgs>(in.rows(begin, end, out));
      args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
      run_ok(impl, args);
    };
    run(0, kBatch, together, o);
    for (int64_t b = kBatch; b-- > 0;) run(b, b + 1, alone, got);
    expect_same_bits(got, o, form);
    expect_same_pool(alone, together, form);
  }
}

TEST(GdnDecode, RefusesBadArguments) {
  Random random(4);
  const GdnShape d{1, 2, 16, 16};
  const GdnInputs in(2, d, Temper::kMild, DType::kF32, random);
  const GdnPool pool(2, d, random);
  const Storage o(DType::kF32, {2, 2, 16}), start = ints({0, 65}), slots = ints({0, 1}), three = ints({0, 1, -1}),
                                            cu = ints({0, 1, 2});
  auto args = gdn_args<GdnDecodeArgs>(in.rows(0, 2, o));
  args.start = start, args.slots = slots, args.state = pool.state();
  EXPECT_EQ(check_gdn_decode(args).to_string(), "");
  args.cu_seqlens = cu;
  EXPECT_EQ(check_gdn_decode(args).message(), "gdn_decode: cu_seqlens must be absent: a sequence has one row");
  args.cu_seqlens = {}, args.slots = three, args.start = three;
  EXPECT_EQ(check_gdn_decode(args).message(), "gdn_decode: there must be one row a slot");
}

}  // namespace
}  // namespace sluice
