#include "ops/gated_rmsnorm/gated_rmsnorm.h"
#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_decode/gdn_decode.h"
#include "ops/gdn_step/cases.h"
#include "ops/gdn_step/gdn_step.h"
#include "ops/qkv_conv_split/qkv_conv_split.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr int64_t kRing = 8;  // rows

// A pool of one layer, with the convolution's ring beside the state.
struct StepPool {
  StepPool(int64_t slots, const GdnStepCase& c, Random& random)
      : state(slots, {c.HK, c.HV, c.K, c.V}, random),
        ring(random.normal(DType::kF32, {slots, kRing, 2 * c.HK * c.K + c.HV * c.V})) {}
  StepPool(const StepPool& o) : state(o.state), ring(DType::kF32, {o.ring.tensor().dim(0), kRing, o.ring.tensor().dim(2)}) {
    copy_into(o.ring, ring);
  }
  GdnPool state;
  Storage ring;
};

// One step's inputs for B sequences.
struct StepInputs {
  StepInputs(int64_t B, const GdnStepCase& c, DType type, Random& random)
      : qkv(random.normal(type, {B, channels(c)}, 1, channels(c) + 24)),
        z(random.normal(type, {B, c.HV, c.V}, 1, c.HV * c.V + 8)),
        b(random.normal(type, {B, c.HV})),
        a(random.normal(type, {B, c.HV}, 2)) {}
  static int64_t channels(const GdnStepCase& c) { return 2 * c.HK * c.K + c.HV * c.V; }
  Storage qkv, z, b, a;
};

struct StepWeights {
  StepWeights(const GdnStepCase& c, DType type, Random& random)
      : conv(random.normal(type, {StepInputs::channels(c), c.width}, 0.5)),
        A_log(random.normal(DType::kF32, {c.HV})),
        dt_bias(random.normal(type, {c.HV})),
        norm(random.normal(type, {c.V})) {}
  Storage conv, A_log, dt_bias, norm;
};

GdnStepArgs step_args(const StepInputs& in, const StepWeights& w, const StepPool& pool, const Tensor& start, const Tensor& slots,
                      const Tensor& y) {
  return {.qkv = in.qkv,
          .z = in.z,
          .b = in.b,
          .a = in.a,
          .conv_weight = w.conv,
          .A_log = w.A_log,
          .dt_bias = w.dt_bias,
          .norm_weight = w.norm,
          .conv_ring = pool.ring,
          .start = start,
          .slots = slots,
          .state = pool.state.state(),
          .y = y,
          .scale = 0.25f,
          .allow_neg_eigval = true};
}

// The same by the three operators in turn.
void run_parts(const std::string& form, const GdnStepArgs& a) {
  const int64_t B = a.slots.dim(0), HK = a.state.k.dim(1), HV = a.state.s.dim(1), K = a.state.s.dim(2), V = a.state.s.dim(3);
  const Storage q(DType::kF32, {B, HK, K}), k(DType::kF32, {B, HK, K}), v(DType::kF32, {B, HV, V}), o(DType::kF32, {B, HV, V});
  const Storage log_g(DType::kF32, {B, HV}), beta(DType::kF32, {B, HV});
  std::vector<int64_t> ends(B + 1);
  for (int64_t b = 0; b <= B; ++b) ends[b] = b;
  const Storage cu = ints(ends);
  run_ok(impl_named(qkv_conv_split_impls(), form), QkvConvSplitArgs{.qkv = a.qkv,
                                                                    .b = a.b,
                                                                    .a = a.a,
                                                                    .weight = a.conv_weight,
                                                                    .A_log = a.A_log,
                                                                    .dt_bias = a.dt_bias,
                                                                    .conv_ring = a.conv_ring,
                                                                    .cu_seqlens = cu,
                                                                    .start = a.start,
                                                                    .slots = a.slots,
                                                                    .q = q,
                                                                    .k = k,
                                                                    .v = v,
                                                                    .log_g = log_g,
                                                                    .beta = beta,
                                                                    .l2_eps = a.l2_eps,
                                                                    .allow_neg_eigval = a.allow_neg_eigval});
  run_ok(impl_named(gdn_decode_impls(), form), gdn_args<GdnDecodeArgs>({.q = q,
                                                                        .k = k,
                                                                        .v = v,
                                                                        .log_g = log_g,
                                                                        .beta = beta,
                                                                        .start = a.start,
                                                                        .slots = a.slots,
                                                                        .state = a.state,
                                                                        .o = o,
                                                                        .scale = a.scale}));
  run_ok(impl_named(gated_rmsnorm_impls(), form),
         GatedRmsnormArgs{.x = o, .z = a.z, .weight = a.norm_weight, .y = a.y, .eps = a.norm_eps});
}

// 70 steps of three sequences at different positions, one of them new: over a closing, and round the ring many times.
TEST(GdnStep, SameBitsAsItsParts) {
  Random random(1);
  for (const GdnStepCase& c : kGdnStepCases)
    for (const DType type : {DType::kF32, DType::kBF16})
      for (const char* form : {"cpu", "avx512"}) {
        const auto& impl = impl_named(gdn_step_impls(), form);
        if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
        if (type == DType::kBF16 && c.K == 128) continue;  // the largest shape once is enough
        const StepWeights weights(c, type, random);
        const StepPool before(4, c, random);
        StepPool parts(before), fused(before), one_thread(before);
        const Storage slots = ints({3, 0, 2});
        for (int64_t t = 0; t < 70; ++t) {
          const StepInputs in(3, c, type, random);
          const Storage start = ints({t, 64 * (t > 0) + t, t});
          const Storage want(type, {3, c.HV, c.V}), y(type, {3, c.HV, c.V}), y1(type, {3, c.HV, c.V});
          run_parts(form, step_args(in, weights, parts, start, slots, want));
          const auto args = step_args(in, weights, fused, start, slots, y);
          const Status ok = check_gdn_step(args);
          ASSERT_TRUE(ok.ok()) << ok.to_string();
          run_ok(impl, args);
          run_ok(impl, step_args(in, weights, one_thread, start, slots, y1), 1);
          expect_same_bits(y, want, std::string(form) + ": y of step " + std::to_string(t));
          expect_same_bits(y1, want, std::string(form) + ": y of step " + std::to_string(t) + ", one thread");
          if (HasFailure()) return;
        }
        for (const StepPool* pool : {&fused, &one_thread}) {
          expect_same_pool(pool->state, parts.state, form);
          expect_same_bits(pool->ring, parts.ring, std::string(form) + ": ring");
        }
      }
}

TEST(GdnStep, MatchesReference) {
  Random random(2);
  for (const GdnStepCase& c : kGdnStepCases) {
    const StepWeights weights(c, DType::kF32, random);
    const StepPool before(3, c, random);
    for (const char* form : {"cpu", "avx512"}) {
      const auto& impl = impl_named(gdn_step_impls(), form);
      if (!cpu_has(*context().cpu, impl.isa).yes()) continue;
      StepPool want(before), got(before);
      for (int64_t t = 0; t < 3; ++t) {
        const StepInputs in(3, c, DType::kF32, random);
        const Storage start = ints({t, 0, t}), slots = ints({2, -1, 0}), want_y(DType::kF32, {3, c.HV, c.V}),
                      y(DType::kF32, {3, c.HV, c.V});
        run_ok(impl_named(gdn_step_impls(), "reference"), step_args(in, weights, want, start, slots, want_y));
        run_ok(impl, step_args(in, weights, got, start, slots, y));
        expect_close(y, want_y, kGdnF32, std::string(form) + ": y");
        for (int64_t i = 0; i < c.HV * c.V; ++i) ASSERT_EQ(y.tensor()[1].as<float>()[i], 0.0f) << form << ": padding";
      }
      expect_close(closed_states(got.state, {2, 0}, {3, 3}), closed_states(want.state, {2, 0}, {3, 3}), kGdnF32,
                   std::string(form) + ": state");
      expect_same_bits(got.ring, want.ring, std::string(form) + ": ring");
      expect_same_open_chunk(got.state, before.state, 1, 64, std::string(form) + ": a slot that was not named");
    }
  }
}

TEST(GdnStep, RefusesBadArguments) {
  Random random(3);
  const GdnStepCase c{1, 2, 16, 16, 4};
  const StepWeights weights(c, DType::kF32, random);
  const StepPool pool(2, c, random);
  const StepInputs in(2, c, DType::kF32, random);
  const Storage y(DType::kF32, {2, 2, 16}), start = ints({0, 5}), negative = ints({0, -5}), slots = ints({0, 1}),
                                            far = ints({0, 2});
  const Storage ring(DType::kF32, {2, 6, 64}), wide(DType::kF32, {64, 5}), narrow(DType::kF32, {2, 60});
  const auto args = [&] { return step_args(in, weights, pool, start, slots, y); };
  EXPECT_EQ(check_gdn_step(args()).to_string(), "");
  const auto refusal = [&](auto&& change) {
    auto a = args();
    change(a);
    return check_gdn_step(a).message();
  };
  EXPECT_EQ(refusal([&](auto& a) { a.qkv = narrow; }), "gdn_step: qkv has shape [2, 60], wanted [2, 64]");
  EXPECT_EQ(refusal([&](auto& a) { a.conv_ring = ring; }),
            "gdn_step: conv_ring must hold a power of two of rows, no fewer than the weight's width");
  EXPECT_EQ(refusal([&](auto& a) { a.conv_weight = wide; }), "gdn_step: conv_weight has a width outside 2 to 4");
  EXPECT_EQ(refusal([&](auto& a) { a.slots = far; }), "gdn_step: sequence 1 has slot 2, wanted less than 2");
  EXPECT_EQ(refusal([&](auto& a) { a.start = negative; }), "gdn_step: sequence 1 starts at -5, wanted 0 or more");
  EXPECT_EQ(refusal([&](auto& a) { a.z = {}; }), "gdn_step: z is missing");
}

}  // namespace
}  // namespace sluice
