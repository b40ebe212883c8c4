#include <numeric>

#include "ops/causal_conv1d/cases.h"
#include "ops/causal_conv1d/causal_conv1d.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Types {
  DType x, weight, state, y;
};
constexpr DType kF = DType::kF32, kB = DType::kBF16;

Tolerance limit_for(DType t) { return t == kF ? Tolerance{2e-6, 2e-5} : Tolerance{4e-3, 8e-3}; }

// Memory [N, W-1, C], seen as [N, C, W-1]: channels contiguous.
Tensor channels_inside(const Storage& s) {
  Tensor t = s;
  std::swap(t.shape[1], t.shape[2]);
  std::swap(t.stride[1], t.stride[2]);
  return t;
}

// The tensors of one call. Slot b + 1 belongs to sequence b, slot 0 to nobody.
struct Call {
  CausalConv1dCase c;
  int64_t T;
  Storage x, weight, bias, state, y, steps, cu, slots, has_state;

  Call(const CausalConv1dCase& c, Types types, Random& random)
      : c(c),
        T(std::accumulate(c.lengths.begin(), c.lengths.end(), int64_t(0))),
        x(random.normal(types.x, {T, c.channels}, 1, c.row_stride)),
        weight(random.normal(types.weight, {c.channels, c.width}, 0.5)),
        bias(random.normal(types.weight, {c.channels}, 0.5)),
        state(random.normal(types.state, state_shape(B() + 1))),
        y(types.y, {T, c.channels}, c.row_stride),
        steps(types.state, state_shape(T)),
        cu(ints({})),
        slots(ints({})),
        has_state(ints({})) {
    std::vector<int64_t> starts{0}, s, h;
    for (int64_t b = 0; b < B(); ++b) starts.push_back(starts.back() + c.lengths[b]), s.push_back(b + 1), h.push_back(b % 3 != 1);
    cu = ints(starts), slots = ints(s), has_state = ints(h);
  }
  int64_t B() const { return int64_t(c.lengths.size()); }
  std::vector<int64_t> state_shape(int64_t n) const {
    return c.channels_contiguous ? std::vector{n, c.width - 1, c.channels} : std::vector{n, c.channels, c.width - 1};
  }
  Tensor view(const Storage& s) const { return c.channels_contiguous ? channels_inside(s) : s.tensor(); }
  CausalConv1dArgs args() const {
    return {.x = x,
            .weight = weight,
            .bias = c.bias ? bias.tensor() : Tensor(),
            .conv_state = view(state),
            .cu_seqlens = cu,
            .slots = slots,
            .has_state = has_state,
            .y = y,
            .step_states = view(steps),
            .silu = c.silu};
  }
};

TEST(CausalConv1d, MatchesReference) {
  constexpr Types kTypes[] = {{kF, kF, kF, kF}, {kB, kB, kB, kF}, {kB, kF, kF, kB}, {kF, kB, kB, kB}};
  for (const Types& types : kTypes)
    for (const CausalConv1dCase& c : causal_conv1d_cases()) {
      Random random(1);
      const Call want(c, types, random);
      ASSERT_EQ(check_causal_conv1d(want.args()).message(), "");
      run_ok(impl_named(causal_conv1d_impls(), "reference"), want.args());
      for (const auto* impl : runnable(causal_conv1d_impls(), want.args())) {
        Random again(1);
        const Call got(c, types, again);
        run_ok(*impl, got.args());
        const std::string what = std::string(impl->name) + " channels " + std::to_string(c.channels);
        expect_close(got.y, want.y, limit_for(types.y), what);
        expect_same_bits(got.state, want.state, what + ": state");
        expect_same_bits(got.steps, want.steps, what + ": step states");
      }
    }
}

// The contract worked out by hand for one channel, so that the reference is not only compared with itself.
TEST(CausalConv1d, KnownValues) {
  const std::vector<float> x{5, 7}, weight{2, 3, 10}, bias{0.5f};
  for (const auto* impl : runnable(causal_conv1d_impls(), CausalConv1dArgs{})) {
    std::vector<float> state{1, 4}, y(2), steps(4);
    const Storage cu = ints({0, 2}), slots = ints({0});
    run_ok(*impl, CausalConv1dArgs{.x = Tensor::of(x.data(), {2, 1}),
                                   .weight = Tensor::of(weight.data(), {1, 3}),
                                   .bias = Tensor::of(bias.data(), {1}),
                                   .conv_state = Tensor::of(state.data(), {1, 1, 2}),
                                   .cu_seqlens = cu,
                                   .slots = slots,
                                   .y = Tensor::of(y.data(), {2, 1}),
                                   .step_states = Tensor::of(steps.data(), {2, 1, 2}),
                                   .silu = false});
    EXPECT_EQ(y, (std::vector<float>{64.5f, 93.5f})) << impl->name;  // 0.5 + 2*1 + 3*4 + 10*5; 0.5 + 2*4 + 3*5 + 10*7
    EXPECT_EQ(steps, (std::vector<float>{4, 5, 5, 7})) << impl->name;
    EXPECT_EQ(state, (std::vector<float>{5, 7})) << impl->name;
  }
}

TEST(CausalConv1d, PaddingSlotIsZeroAndTouchesNothing) {
  Random random(2);
  Call call({{2, 3}, 20, 4}, {kF, kF, kF, kF}, random);
  call.slots = ints({-1, 1});
  const auto before = call.state.values();
  for (const auto* impl : runnable(causal_conv1d_impls(), call.args())) {
    run_ok(*impl, call.args());
    const auto y = call.y.values(), steps = call.steps.values(), state = call.state.values();
    EXPECT_TRUE(std::all_of(y.begin(), y.begin() + 40, [](double v) { return v == 0; })) << impl->name;
    EXPECT_TRUE(std::any_of(y.begin() + 40, y.end(), [](double v) { return v != 0; })) << impl->name;
    EXPECT_TRUE(std::all_of(steps.begin(), steps.begin() + 120, [](double v) { return v == 0; })) << impl->name;
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + 60, state.begin())) << impl->name << ": slot 0";
    EXPECT_TRUE(std::equal(before.begin() + 120, before.end(), state.begin() + 120)) << impl->name << ": slot 2";
  }
}

TEST(CausalConv1d, ReadOnlyStateKeepsItsBits) {
  Random random(3);
  Call call({{4, 1}, 33, 4}, {kB, kB, kB, kF}, random);
  CausalConv1dArgs args = call.args();
  args.update_state = false;
  const auto before = call.state.bytes();
  for (const auto* impl : runnable(causal_conv1d_impls(), args)) {
    run_ok(*impl, args);
    EXPECT_EQ(call.state.bytes(), before) << impl->name;
  }
}

// One call, calls of 1, 2, 3, ... tokens, and one thread: the same y and the same state.
TEST(CausalConv1d, SameBitsHoweverTheSequenceIsCut) {
  for (const int64_t rows : {45, 700, 2100})
    for (const auto* impl : runnable(causal_conv1d_impls(), CausalConv1dArgs{})) {
      const CausalConv1dCase c{{rows}, 136, 4, true};
      Random r1(4), r2(4), r3(4);
      Call whole(c, {kB, kB, kB, kF}, r1), cut(c, {kB, kB, kB, kF}, r2), alone(c, {kB, kB, kB, kF}, r3);
      run_ok(*impl, whole.args());
      run_ok(*impl, alone.args(), 1);
      for (int64_t at = 0, n = 1; at < rows; at += n, n = std::min(n + 1, rows - at)) {
        CausalConv1dArgs a = cut.args();
        const Storage cu = ints({0, n});
        a.x = a.x.slice(0, at, at + n), a.y = a.y.slice(0, at, at + n), a.step_states = a.step_states.slice(0, at, at + n);
        a.cu_seqlens = cu;
        run_ok(*impl, a);
      }
      for (const Call* other : {&cut, &alone}) {
        expect_same_bits(whole.y, other->y, impl->name);
        expect_same_bits(whole.state, other->state, impl->name);
        expect_same_bits(whole.steps, other->steps, impl->name);
      }
    }
}

TEST(CausalConv1d, SameBitsInABatch) {
  for (const auto* impl : runnable(causal_conv1d_impls(), CausalConv1dArgs{})) {
    const CausalConv1dCase c{{1, 7, 2}, 140, 4};
    Random r1(5), r2(5);
    Call batch(c, {kF, kF, kF, kF}, r1), single(c, {kF, kF, kF, kF}, r2);
    run_ok(*impl, batch.args());
    for (int64_t b = 2; b >= 0; --b) {
      CausalConv1dArgs a = single.args();
      a.cu_seqlens = a.cu_seqlens.slice(0, b, b + 2);
      a.slots = a.slots.slice(0, b, b + 1), a.has_state = a.has_state.slice(0, b, b + 1);
      run_ok(*impl, a);
    }
    expect_same_bits(batch.y, single.y, impl->name);
    expect_same_bits(batch.state, single.state, impl->name);
  }
}

// Without the states after each token, which leave the shortest way through the rows; padding and new sequences anywhere.
TEST(CausalConv1d, RaggedBatches) {
  for (const uint64_t seed : {1, 2, 3, 4, 5, 6, 7}) {
    Random shapes(seed);
    CausalConv1dCase c{{}, seed % 2 ? 128 : 70, seed > 2 ? 4 : shapes.integer(2, 4), seed > 2, true, 0, seed != 3};
    std::vector<int64_t> slots, fresh;
    for (int64_t b = 0; b < 24; ++b) {
      const int64_t rows = shapes.integer(-10, b % 6 ? 20 : seed == 5 ? 1500 : 200);
      c.lengths.push_back(seed == 7 ? 1 : std::max<int64_t>(0, rows));
      slots.push_back(shapes.integer(0, 4) ? 24 - b : -1), fresh.push_back(shapes.integer(0, 1));
    }
    const auto make = [&](bool bf16) {
      Random random(seed);
      Call call(c, bf16 ? Types{kB, kB, kB, kB} : Types{kF, kF, kF, kF}, random);
      call.slots = ints(slots), call.has_state = ints(fresh);
      return call;
    };
    const auto args_of = [](const Call& call) {
      CausalConv1dArgs a = call.args();
      a.step_states = {};
      return a;
    };
    for (const bool bf16 : {false, true}) {
      const Call want = make(bf16);
      ASSERT_EQ(check_causal_conv1d(args_of(want)).message(), "");
      run_ok(impl_named(causal_conv1d_impls(), "reference"), args_of(want));
      for (const auto* impl : runnable(causal_conv1d_impls(), args_of(want))) {
        const Call got = make(bf16);
        run_ok(*impl, args_of(got));
        expect_close(got.y, want.y, limit_for(bf16 ? kB : kF), impl->name);
        expect_same_bits(got.state, want.state, impl->name);
      }
    }
  }
}

TEST(CausalConv1d, OddAddresses) {
  for (const DType type : {kF, kB}) {
    const auto shifted = [&](uint64_t seed, std::vector<int64_t> shape) {
      return Random(seed).normal(type, std::move(shape), 1, 0, 1);
    };
    const Storage x = shifted(1, {520, 64}), weight = shifted(2, {64, 4}), cu = ints({0, 520}), slot = ints({0});
    const auto run = [&](const Impl<CausalConv1dArgs>& impl, const Storage& state, const Storage& y) {
      run_ok(impl, {.x = x, .weight = weight, .conv_state = channels_inside(state), .cu_seqlens = cu, .slots = slot, .y = y});
    };
    const Storage want(type, {520, 64}), want_state = shifted(3, {1, 3, 64});
    run(impl_named(causal_conv1d_impls(), "reference"), want_state, want);
    for (const auto* impl : runnable(causal_conv1d_impls(), CausalConv1dArgs{})) {
      const Storage got(type, {520, 64}, 0, 1), state = shifted(3, {1, 3, 64});
      run(*impl, state, got);
      expect_close(got, want, limit_for(type), impl->name);
      expect_same_bits(state, want_state, impl->name);
    }
  }
}

TEST(CausalConv1d, RefusesBadArguments) {
  Random random(6);
  const Call call({{2, 3}, 8, 4}, {kF, kF, kF, kF}, random);
  const auto message = [&](auto change) {
    CausalConv1dArgs a = call.args();
    change(a);
    return check_causal_conv1d(a).message();
  };
  const Storage wide = random.normal(kF, {8, 5}), late = ints({0, 2, 6}), back = ints({0, 3, 2}), none = ints({}),
                far = ints({0, 3});
  EXPECT_EQ(message([&](auto& a) { a.x = {}; }), "causal_conv1d: x is missing");
  EXPECT_EQ(message([&](auto& a) { a.weight = wide; }), "causal_conv1d: weight has a width outside 2 to 4");
  EXPECT_EQ(message([&](auto& a) { a.bias = wide; }), "causal_conv1d: bias has shape [8, 5], wanted [8]");
  EXPECT_EQ(message([&](auto& a) { a.y = wide; }), "causal_conv1d: y has shape [8, 5], wanted [5, 8]");
  EXPECT_EQ(message([&](auto& a) { a.conv_state = wide; }), "causal_conv1d: conv_state has rank 2, wanted 3");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = late; }), "causal_conv1d: cu_seqlens[2] is 6, wanted 2 to 5");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = back; }), "causal_conv1d: cu_seqlens[2] is 2, wanted 3 to 5");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = none; }),
            "causal_conv1d: cu_seqlens is empty, wanted one entry more than there are sequences");
  EXPECT_EQ(message([&](auto& a) { a.slots = far; }), "causal_conv1d: slots[1] is 3, the pool has 3");
  EXPECT_EQ(message([&](auto& a) { a.slots = none; }), "causal_conv1d: slots has shape [0], wanted [2]");
  EXPECT_EQ(message([&](auto& a) { a.has_state = call.x; }), "causal_conv1d: has_state is F32, wanted I32");
}

}  // namespace
}  // namespace sluice
