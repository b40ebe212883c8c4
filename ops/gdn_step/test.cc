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

// How a pool keeps its state: in chunks of R rows, or in one plain state (R = 1).
struct StepForm {
  int64_t R = 64;
  DType state = DType::kF32, ring = DType::kF32;

  bool classic() const { return R == 1; }
  std::string name() const {
    return "R " + std::to_string(R) + ", " + std::string(dtype_name(state)) + " state, " + std::string(dtype_name(ring)) + " ring";
  }
};

// A pool of one layer, with the convolution's ring beside the state.
struct StepPool {
  StepPool(int64_t slots, const GdnStepCase& c, Random& random, StepForm form = {})
      : form(form),
        state(GdnPool(slots, {c.HK, c.HV, c.K, c.V}, random, form.R), form.state),
        ring(random.normal(form.ring, {slots, kRing, 2 * c.HK * c.K + c.HV * c.V})) {}
  StepPool(const StepPool& o) : StepPool(o, o.form.state) {}
  // The same with S in another type.
  StepPool(const StepPool& o, DType type)
      : form{o.form.R, type, o.form.ring},
        state(o.state, type),
        ring(o.form.ring, {o.ring.tensor().dim(0), kRing, o.ring.tensor().dim(2)}) {
    copy_into(o.ring, ring);
  }
  GdnState args() const { return form.classic() ? GdnState{.s = state.s} : state.state(); }
  StepForm form;
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
          .state = pool.args(),
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
      for (const char* form : {"cpu", "avx2", "avx512"}) {
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

// Steps of five sequences: two in the middle, two that are new, one of them in a slot of NaN, and one of padding.
struct Steps {
  static constexpr int64_t kSlots = 6, kBatch = 5;

  Steps(const GdnStepCase& c, StepForm form, DType type, Random& random)
      : c(c), type(type), weights(c, type, random), before(kSlots, c, random, form), random(random) {
    std::memset(before.state.s.tensor()[0].data, 0xff, before.state.s.tensor()[0].bytes());
  }
  // Positions of step t: those in the middle stand at the edges of a chunk and far on, and the rows before them are made up.
  std::vector<int64_t> starts(int64_t t) const { return {t, 64 - 2 + t, 0, 1024 - 17 + t, t}; }

  // Rows of a chunk that are open at the start, for the sequences in the middle.
  void open_rows() {
    if (before.form.classic()) return;
    const int64_t R = before.form.R;
    const auto fill = [&](Storage& x, double spread) { x.fill([&] { return random.normal(0, spread); }); };
    fill(before.state.k, 0.1), fill(before.state.u, 0.5);
    int64_t i = 0;
    before.state.g.fill([&] { return -0.1 * double(1 + i++ % R); });
  }

  // Every form against the reference, step by step from the same pools.
  void expect_forms_match(int64_t steps) {
    open_rows();
    // A bf16 state is followed by the reference in fp32, but for the classic form, which rounds it each step.
    const DType reference_type = before.form.classic() ? before.form.state : DType::kF32;
    const bool rounded = before.form.state == DType::kBF16;
    for (const auto& impl : gdn_step_impls()) {
      StepPool want(before, reference_type), got(before), alone(before);
      for (int64_t t = 0; t < steps; ++t) {
        const StepInputs in(kBatch, c, type, random);
        const Storage start = ints(starts(t)), slots = ints({2, 4, 0, 1, -1});
        const Storage want_y(DType::kF32, {kBatch, c.HV, c.V}), y(DType::kF32, {kBatch, c.HV, c.V});
        const auto args = step_args(in, weights, got, start, slots, y);
        if (!runs_here(impl, args) || (rounded && !before.form.classic() && !is_gpu(impl.isa))) break;
        run_ok(impl_named(gdn_step_impls(), "reference"), step_args(in, weights, want, start, slots, want_y));
        run_ok(impl, args);
        const std::string what =
            std::string(impl.name) + ", " + before.form.name() + ", K " + std::to_string(c.K) + ", step " + std::to_string(t);
        expect_close(y, want_y, rounded ? kGdnBf16 : kGdnF32, what + ": y");
        for (int64_t i = 0; i < c.HV * c.V; ++i) ASSERT_EQ(y.tensor()[kBatch - 1].as<float>()[i], 0.0f) << what << ": padding";
        run_alone(impl, in, start, slots, alone, y, what);
        if (::testing::Test::HasFailure()) return;
      }
      expect_same_pools(impl, want, got, alone);
    }
  }

  // Each sequence by itself: the bits of the batch.
  void run_alone(const Impl<GdnStepArgs>& impl, const StepInputs& in, const Tensor& start, const Tensor& slots,
                 const StepPool& pool, const Storage& want, const std::string& what) {
    const Storage y(DType::kF32, {kBatch, c.HV, c.V});
    for (int64_t b = 0; b < kBatch; ++b) {
      auto args = step_args(in, weights, pool, start.slice(0, b, b + 1), slots.slice(0, b, b + 1), y.tensor().slice(0, b, b + 1));
      for (Tensor* t : {&args.qkv, &args.z, &args.b, &args.a}) *t = t->slice(0, b, b + 1);
      run_ok(impl, args, 1);
    }
    expect_same_bits(y, want, what + ": alone");
  }

  void expect_same_pools(const Impl<GdnStepArgs>& impl, const StepPool& want, const StepPool& got, const StepPool& alone) const {
    const std::string what = std::string(impl.name) + ", " + before.form.name();
    expect_same_pool(alone.state, got.state, what + ": alone");
    expect_same_bits(alone.ring, got.ring, what + ": ring alone");
    for (const int64_t slot : {3, 5})
      expect_same_open_chunk(got.state, before.state, slot, before.form.R,
                             what + ": slot " + std::to_string(slot) + ", which was not named");
    expect_same_bits(got.ring, want.ring, what + ": ring");
  }

  GdnStepCase c;
  DType type;
  StepWeights weights;
  StepPool before;
  Random& random;
};

TEST(GdnStep, MatchesReference) {
  Random random(2);
  for (const GdnStepCase& c : kGdnStepCases) Steps(c, {}, DType::kF32, random).expect_forms_match(4);
}

TEST(GdnStep, MatchesReferenceWithOnePlainState) {
  Random random(4);
  for (const GdnStepCase& c : kGdnStepCases)
    for (const DType type : {DType::kF32, DType::kBF16})
      Steps(c, {.R = 1, .state = type, .ring = type}, type, random).expect_forms_match(4);
}

TEST(GdnStep, MatchesReferenceAtEveryCapacityAndInBothTypes) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows, an fp32 pool and an fp32 ring";
  Random random(5);
  for (const GdnStepCase& c : kGdnStepGpuCases)
    for (const int64_t R : {16, 32, 64})
      for (const DType type : {DType::kF32, DType::kBF16})
        Steps(c, {.R = R, .state = type, .ring = type == DType::kF32 ? DType::kBF16 : DType::kF32}, type, random)
            .expect_forms_match(R == 16 ? 20 : 3);
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
  EXPECT_EQ(refusal([&](auto& a) { a.state.g = {}; }), "gdn_step: state.k, state.u and state.g come together or not at all");
  EXPECT_EQ(refusal([&](auto& a) { a.state = {.s = a.state.s}, a.qkv = narrow; }),
            "gdn_step: qkv must hold q and k of whole heads beside v");
  EXPECT_EQ(refusal([&](auto& a) { a.state = {.s = a.state.s}; }), "");
}

}  // namespace
}  // namespace sluice
