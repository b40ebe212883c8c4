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

// One step of four sequences: two with `open` rows, one that is new in a slot of NaN, one of padding.
struct OneStep {
  OneStep(const GdnDecodeCase& c, int64_t open, int64_t R, DType state, Random& random)
      : shape{c.HK, c.HV, c.K, c.V},
        open(open),
        R(R),
        before(GdnPool(GdnPool(4, shape, random, R), state)),
        in(4, shape, Temper::kStrong, DType::kBF16, random) {
    const GdnInputs history(63, shape, Temper::kMild, DType::kF32, random);
    const Storage unused(DType::kF32, {63, c.HV, c.V});
    GdnPool filled(before, DType::kF32);
    for (const int64_t slot : {1, 3}) prefill("reference", history, 0, open, slot, filled, unused);
    copy_into(filled.k, before.k), copy_into(filled.u, before.u), copy_into(filled.g, before.g);
    std::memset(before.s.tensor()[0].data, 0xff, before.s.tensor()[0].bytes());
  }
  GdnDecodeArgs args(const GdnPool& pool, const Tensor& o) const {
    auto a = gdn_args<GdnDecodeArgs>(in.rows(0, 4, o));
    a.start = start, a.slots = slots, a.has_state = has, a.state = pool.state();
    return a;
  }
  void expect_forms_match() const {
    GdnPool want(before, DType::kF32);
    const Storage want_o(DType::kF32, {4, shape.HV, shape.V});
    run_ok(impl_named(gdn_decode_impls(), "reference"), args(want, want_o));
    const std::vector<int64_t> ids{1, 3, 0}, rows{(open + 1) % R, (open + 1) % R, 1};
    const Storage want_s = closed_states(want, ids, rows);
    const DType type = before.s.tensor().dtype;
    for (const auto& impl : gdn_decode_impls()) {
      GdnPool got(before);
      const Storage o(DType::kF32, {4, shape.HV, shape.V});
      if (!runs_here(impl, args(got, o)) || (type != DType::kF32 && !is_gpu(impl.isa))) continue;
      if (type == DType::kF32) {
        EXPECT_EQ(check_gdn_decode(args(got, o)).to_string(), "");
      }
      run_ok(impl, args(got, o));
      const std::string what = std::string(impl.name) + ", K " + std::to_string(shape.K) + ", V " + std::to_string(shape.V) +
                               ", row " + std::to_string(open) + " of " + std::to_string(R) + ", " + std::string(dtype_name(type));
      expect_close(o, want_o, kGdnF32, what + ": o");
      expect_close(closed_states(got, ids, rows), want_s, type == DType::kF32 ? kGdnF32 : kGdnBf16, what + ": state");
      expect_same_open_chunk(got, before, 2, R, what + ": a slot that was not named");
      for (int64_t i = 0; i < shape.HV * shape.V; ++i) ASSERT_EQ(o.tensor()[3].as<float>()[i], 0.0f) << what;
    }
  }
  GdnShape shape;
  int64_t open, R;
  GdnPool before;
  GdnInputs in;
  const Storage start = ints({open, 64 + open, 0, 0}), slots = ints({1, 3, 0, -1}), has = ints({1, 1, 0, 0});
};

TEST(GdnDecode, MatchesReference) {
  Random random(1);
  for (const GdnDecodeCase& c : kGdnDecodeCases)
    for (const int64_t open : kGdnDecodeRows) OneStep(c, open, 64, DType::kF32, random).expect_forms_match();
}

TEST(GdnDecode, MatchesReferenceAtEveryCapacityAndInBothTypes) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows and an fp32 pool";
  Random random(5);
  for (const GdnDecodeCase& c : kGdnDecodeCases)
    for (const int64_t R : {16, 32, 64})
      for (const DType state : {DType::kF32, DType::kBF16})
        for (const int64_t open : {int64_t(0), int64_t(7), R - 2, R - 1}) OneStep(c, open, R, state, random).expect_forms_match();
}

// Two sequences of 300 tokens, step by step, against each in one call of gdn_prefill.
TEST(GdnDecode, SameBitsAsPrefill) {
  constexpr int64_t kTokens = 300;
  Random random(2);
  for (const GdnShape d : {GdnShape{1, 2, 128, 128}, GdnShape{2, 2, 48, 80}}) {
    const GdnPool before(2, d, random);
    const GdnInputs first(kTokens, d, Temper::kStrong, DType::kF32, random), second(kTokens, d, Temper::kMild, DType::kF32, random);
    for (const char* form : {"cpu", "avx2", "avx512"}) {
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
  for (const auto& impl : gdn_decode_impls()) {
    GdnPool together(before), alone(before);
    bool here = true;
    const Storage o(DType::kBF16, {kBatch, 4, 64}), got(DType::kBF16, {kBatch, 4, 64});
    const auto run = [&](int64_t begin, int64_t end, GdnPool& pool, const Storage& out) {
      std::vector<int64_t> ids;
      for (int64_t b = begin; b < end; ++b) ids.push_back(kBatch - 1 - b);
      const Storage slots = ints(ids), start = ints(std::vector<int64_t>(ids.size(), 128)),
                    has = ints(std::vector<int64_t>(ids.size(), 1));
      auto args = gdn_args<GdnDecodeArgs>(in.rows(begin, end, out));
      args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
      here = here && runs_here(impl, args);
      if (here) run_ok(impl, args);
    };
    run(0, kBatch, together, o);
    for (int64_t b = kBatch; b-- > 0;) run(b, b + 1, alone, got);
    expect_same_bits(got, o, impl.name);
    expect_same_pool(alone, together, impl.name);
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
