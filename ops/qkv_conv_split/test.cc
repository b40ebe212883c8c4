#include "ops/causal_conv1d/causal_conv1d.h"
#include "ops/gating/gating.h"
#include "ops/l2norm/l2norm.h"
#include "ops/qkv_conv_split/cases.h"
#include "ops/qkv_conv_split/qkv_conv_split.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr DType kF = DType::kF32, kB = DType::kBF16;
struct Types {
  DType qkv, weight, gates, out = kF, ring = kF;
};

// The tensors of one call. Slot b + 1 belongs to sequence b, slot 0 to nobody.
struct Call {
  QkvConvSplitCase c;
  Random random;
  int64_t T, C;
  Storage qkv, b, a, weight, A_log, dt_bias, ring, cu, start, slots, q, k, v, log_g, beta;

  Call(const QkvConvSplitCase& c, Types types, uint64_t seed)
      : c(c),
        random(seed),
        T(tokens(c)),
        C(2 * c.key_heads * c.key_dim + c.value_heads * c.value_dim),
        qkv(random.normal(types.qkv, {T, C}, 1, C + c.spare, c.offset)),
        b(random.normal(types.gates, {T, c.value_heads}, 2)),
        a(random.normal(types.gates, {T, c.value_heads}, 3, c.value_heads + 1)),
        weight(random.normal(types.weight, {C, c.width}, 0.5)),
        A_log(random.normal(kF, {c.value_heads})),
        dt_bias(random.normal(types.gates, {c.value_heads})),
        ring(random.normal(types.ring, {B() + 1, c.ring, C})),
        cu(ints({})),
        start(ints({})),
        slots(ints({})),
        q(types.out, {T, c.key_heads, c.key_dim}),
        k(types.out, {T, c.key_heads, c.key_dim}, c.key_heads * c.key_dim + c.spare),
        v(types.out, {T, c.value_heads, c.value_dim}, 0, c.offset),
        log_g(kF, {T, c.value_heads}),
        beta(kF, {T, c.value_heads}, c.value_heads + 2) {
    std::vector<int64_t> ends{0}, begins, names;
    for (const auto& s : c.sequences)
      ends.push_back(ends.back() + s.tokens), begins.push_back(s.start), names.push_back(int64_t(names.size()) + 1);
    cu = ints(ends), start = ints(begins), slots = ints(names);
  }
  int64_t B() const { return int64_t(c.sequences.size()); }
  static int64_t tokens(const QkvConvSplitCase& c) {
    int64_t n = 0;
    for (const auto& s : c.sequences) n += s.tokens;
    return n;
  }
  QkvConvSplitArgs args() const {
    return {.qkv = qkv,
            .b = b,
            .a = a,
            .weight = weight,
            .A_log = A_log,
            .dt_bias = dt_bias,
            .conv_ring = ring,
            .cu_seqlens = cu,
            .start = start,
            .slots = slots,
            .q = q,
            .k = k,
            .v = v,
            .log_g = log_g,
            .beta = beta,
            .allow_neg_eigval = c.allow_neg_eigval};
  }
};

// Tokens [begin, end) of a call with one sequence that starts at position 0.
QkvConvSplitArgs cut(const Call& call, int64_t begin, int64_t end, const Storage& cu, const Storage& start) {
  QkvConvSplitArgs a = call.args();
  for (Tensor* t : {&a.qkv, &a.b, &a.a, &a.q, &a.k, &a.v, &a.log_g, &a.beta}) *t = t->slice(0, begin, end);
  a.cu_seqlens = cu, a.start = start;
  return a;
}

void expect_same_outputs(const Call& x, const Call& y, const std::string& what) {
  expect_same_bits(x.q, y.q, what + ": q");
  expect_same_bits(x.k, y.k, what + ": k");
  expect_same_bits(x.v, y.v, what + ": v");
  expect_same_bits(x.log_g, y.log_g, what + ": log_g");
  expect_same_bits(x.beta, y.beta, what + ": beta");
}

void expect_outputs_close(const Call& got, const Call& want, const Types& types, const std::string& what) {
  constexpr Tolerance kFp32{2e-6, 2e-5}, kBf16{4e-3, 8e-3};
  const Tolerance limit = types.out == kF ? kFp32 : kBf16;
  expect_close(got.q, want.q, limit, what + ": q");
  expect_close(got.k, want.k, limit, what + ": k");
  expect_close(got.v, want.v, limit, what + ": v");
  expect_close(got.log_g, want.log_g, kFp32, what + ": log_g");
  expect_close(got.beta, want.beta, kFp32, what + ": beta");
  expect_same_bits(got.ring, want.ring, what + ": ring");
}

TEST(QkvConvSplit, MatchesReference) {
  for (const Types& types : {Types{kF, kF, kF}, Types{kB, kB, kB}, Types{kF, kB, kB}, Types{kB, kF, kF}, Types{kB, kB, kB, kB, kB},
                             Types{kF, kF, kF, kB}, Types{kB, kB, kF, kF, kB}})
    for (const QkvConvSplitCase& c : qkv_conv_split_cases()) {
      const Call want(c, types, 1);
      ASSERT_EQ(check_qkv_conv_split(want.args()).message(), "");
      run_ok(impl_named(qkv_conv_split_impls(), "reference"), want.args());
      for (const auto* impl : runnable(qkv_conv_split_impls(), want.args())) {
        const Call got(c, types, 1);
        run_ok(*impl, got.args());
        const std::string what = std::string(impl->name) + " rows " + std::to_string(want.T) + " width " + std::to_string(c.width);
        expect_outputs_close(got, want, types, what);
      }
    }
}

// Padding, sequences without rows and starts of all kinds, anywhere in the batch; last, sequences of one row each.
TEST(QkvConvSplit, RaggedBatches) {
  for (const uint64_t seed : {1, 2, 3, 4, 5, 6, 7}) {
    Random shapes(seed);
    QkvConvSplitCase c{{}, 1, 2, 128, seed % 2 ? 128 : 96, seed == 6 ? 2 : 4, int64_t(4) << shapes.integer(0, 3)};
    std::vector<int64_t> slots;
    for (int64_t b = 0; b < 24; ++b) {
      const int64_t rows = shapes.integer(-10, b % 6 ? (seed > 3 ? 3 : 20) : seed == 1 ? 1500 : 150);
      c.sequences.push_back(
          {seed == 7 ? 1 : std::max<int64_t>(0, rows), shapes.integer(0, 1) ? shapes.integer(0, 5) : shapes.integer(0, 100000)});
      slots.push_back(shapes.integer(0, 4) ? 24 - b : -1);
    }
    for (const Types& types : {Types{kF, kF, kF}, Types{kB, kB, kF, kB, kB}}) {
      Call want(c, types, seed);
      want.slots = ints(slots);
      ASSERT_EQ(check_qkv_conv_split(want.args()).message(), "");
      run_ok(impl_named(qkv_conv_split_impls(), "reference"), want.args());
      for (const auto* impl : runnable(qkv_conv_split_impls(), want.args())) {
        Call got(c, types, seed);
        got.slots = ints(slots);
        run_ok(*impl, got.args());
        expect_outputs_close(got, want, types, std::string(impl->name) + " seed " + std::to_string(seed));
      }
    }
  }
}

// causal_conv1d with the ring's rows as its state, then l2norm and gating: the same bits.
TEST(QkvConvSplit, SameBitsAsItsParts) {
  for (const Types& types : {Types{kF, kF, kF}, Types{kB, kB, kB}})
    for (const QkvConvSplitCase& c : qkv_conv_split_cases()) {
      const Call got(c, types, 2);
      Storage state(kF, {got.B() + 1, got.C, c.width - 1});
      std::vector<double> past;
      const auto rows = got.ring.values();
      for (int64_t slot = 0; slot <= got.B(); ++slot)
        for (int64_t ch = 0; ch < got.C; ++ch)
          for (int64_t back = c.width - 1; back > 0; --back) {
            const int64_t position = (slot ? c.sequences[slot - 1].start : 0) - back;
            past.push_back(position < 0 ? 0 : rows[(slot * c.ring + position % c.ring) * got.C + ch]);
          }
      size_t i = 0;
      state.fill([&] { return past[i++]; });
      for (const char* name : {"cpu", "avx2", "avx512", "portable"}) {
        const Call fused(c, types, 2);
        const auto& impl = impl_named(qkv_conv_split_impls(), name);
        if (!runs_here(impl, fused.args())) continue;
        run_ok(impl, fused.args());
        const int64_t keys = c.key_heads * c.key_dim;
        Storage mixed(kF, {got.T, got.C});
        run_ok(impl_named(causal_conv1d_impls(), name), CausalConv1dArgs{.x = got.qkv,
                                                                         .weight = got.weight,
                                                                         .conv_state = state,
                                                                         .cu_seqlens = got.cu,
                                                                         .slots = got.slots,
                                                                         .y = mixed,
                                                                         .update_state = false});
        const auto heads = [&](int64_t first, int64_t n, int64_t dim) {
          return mixed.tensor().slice(1, first, first + n * dim).split_last(n, dim);
        };
        run_ok(impl_named(l2norm_impls(), name), L2normArgs{.x = heads(0, c.key_heads, c.key_dim), .y = got.q});
        run_ok(impl_named(l2norm_impls(), name), L2normArgs{.x = heads(keys, c.key_heads, c.key_dim), .y = got.k});
        const Tensor v = heads(2 * keys, c.value_heads, c.value_dim);
        for (int64_t t = 0; t < got.T; ++t)
          std::memcpy(got.v.tensor().as<float>() + t * got.v.tensor().stride[0], v.as<float>() + t * v.stride[0],
                      size_t(c.value_heads * c.value_dim) * sizeof(float));
        run_ok(impl_named(gating_impls(), name), GatingArgs{.a = got.a,
                                                            .b = got.b,
                                                            .A_log = got.A_log,
                                                            .dt_bias = got.dt_bias,
                                                            .log_g = got.log_g,
                                                            .beta = got.beta,
                                                            .allow_neg_eigval = c.allow_neg_eigval});
        expect_same_outputs(fused, got, name);
      }
    }
}

TEST(QkvConvSplit, SameBitsHoweverTheSequenceIsCut) {
  const QkvConvSplitCase cases[] = {
      {{{70, 0}}, 2, 3, 40, 24, 4, 8}, {{{700, 0}}, 1, 2, 128, 128, 4, 16}, {{{2100, 0}}, 1, 1, 128, 128, 4, 16}};
  for (const QkvConvSplitCase& c : cases)
    for (const auto* impl : runnable(qkv_conv_split_impls(), QkvConvSplitArgs{})) {
      const Call whole(c, {kB, kB, kF}, 3), pieces(c, {kB, kB, kF}, 3), alone(c, {kB, kB, kF}, 3);
      run_ok(*impl, whole.args());
      run_ok(*impl, alone.args(), 1);
      for (int64_t at = 0, n = 1; at < whole.T; at += n, n = std::min(n + 1, whole.T - at)) {
        const Storage cu = ints({0, n}), start = ints({at});
        run_ok(*impl, cut(pieces, at, at + n, cu, start));
      }
      expect_same_outputs(whole, pieces, impl->name);
      expect_same_outputs(whole, alone, impl->name);
      expect_same_bits(whole.ring, pieces.ring, impl->name);
      expect_same_bits(whole.ring, alone.ring, impl->name);
    }
}

TEST(QkvConvSplit, SameBitsInABatch) {
  const QkvConvSplitCase c{{{1, 0}, {9, 4}, {1, 77}, {30, 2}}, 2, 4, 64, 32, 4, 16};
  for (const auto* impl : runnable(qkv_conv_split_impls(), QkvConvSplitArgs{})) {
    const Call batch(c, {kF, kF, kF}, 4), single(c, {kF, kF, kF}, 4);
    run_ok(*impl, batch.args());
    for (int64_t b = 3; b >= 0; --b) {
      QkvConvSplitArgs a = single.args();
      a.cu_seqlens = a.cu_seqlens.slice(0, b, b + 2);
      a.slots = a.slots.slice(0, b, b + 1), a.start = a.start.slice(0, b, b + 1);
      run_ok(*impl, a);
    }
    expect_same_outputs(batch, single, impl->name);
    expect_same_bits(batch.ring, single.ring, impl->name);
  }
}

// A draft of R - (W-1) tokens is rejected: going on from before it gives what a run without it gives.
TEST(QkvConvSplit, RejectedDraftIsACursorMovedBack) {
  const QkvConvSplitCase c{{{20, 0}}, 1, 2, 16, 16, 4, 8};
  for (const auto* impl : runnable(qkv_conv_split_impls(), QkvConvSplitArgs{})) {
    const Call straight(c, {kF, kF, kF}, 5), drafted(c, {kF, kF, kF}, 5), other(c, {kF, kF, kF}, 6);
    run_ok(*impl, straight.args());
    const Storage ten = ints({0, 10}), five = ints({0, 5}), zero = ints({0}), at10 = ints({10});
    run_ok(*impl, cut(drafted, 0, 10, ten, zero));
    QkvConvSplitArgs draft = cut(other, 10, 15, five, at10);
    draft.conv_ring = drafted.ring;
    run_ok(*impl, draft);
    run_ok(*impl, cut(drafted, 10, 20, ten, at10));
    expect_same_outputs(straight, drafted, impl->name);
    expect_same_bits(straight.ring, drafted.ring, impl->name);
  }
}

TEST(QkvConvSplit, PaddingSlotIsZeroAndTouchesNothing) {
  for (const auto* impl : runnable(qkv_conv_split_impls(), QkvConvSplitArgs{})) {
    Call call({{{2, 0}, {3, 9}}, 1, 2, 20, 12, 4, 4}, {kF, kF, kF}, 7);
    const auto before = call.ring.values();
    call.slots = ints({-1, 1});
    run_ok(*impl, call.args());
    for (const Storage* s : {&call.q, &call.k, &call.v, &call.log_g, &call.beta}) {
      const auto values = s->values();
      const auto second = values.begin() + int64_t(values.size()) * 2 / 5;
      EXPECT_TRUE(std::all_of(values.begin(), second, [](double x) { return x == 0; })) << impl->name;
      EXPECT_TRUE(std::all_of(second, values.end(), [](double x) { return x != 0 && std::isfinite(x); })) << impl->name;
    }
    const auto after = call.ring.values();
    const int64_t slot = 4 * call.C;
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + slot, after.begin())) << impl->name << ": slot 0";
    EXPECT_TRUE(std::equal(before.begin() + 2 * slot, before.end(), after.begin() + 2 * slot)) << impl->name << ": slot 2";
  }
}

TEST(QkvConvSplit, FormsSayWhatTheyLack) {
  const QkvConvSplitCase c{{{2, 0}}, 1, 2, 8, 4, 4, 4};
  const auto& impl = impl_named(qkv_conv_split_impls(), "cpu");
  EXPECT_STREQ(can_run(impl, context(), Call(c, {kB, kB, kB, kB}, 1).args()).refusal, "it writes q, k and v in fp32 only");
  EXPECT_STREQ(can_run(impl, context(), Call(c, {kB, kB, kB, kF, kB}, 1).args()).refusal, "it keeps a ring of fp32 only");
}

TEST(QkvConvSplit, RefusesBadArguments) {
  const Call call({{{2, 0}, {3, 9}}, 1, 2, 8, 4, 4, 4}, {kF, kF, kF}, 8);
  const auto message = [&](auto change) {
    QkvConvSplitArgs a = call.args();
    change(a);
    return check_qkv_conv_split(a).message();
  };
  const Storage small(kF, {3, 2, 24}), odd(kF, {3, 6, 24}), half(kB, {5, 1, 8}), late = ints({0, 2, 6}), far = ints({0, 3});
  const Storage early = ints({0, -1}), wide(kF, {24, 5}), bf16_ring(kB, {3, 4, 24});
  EXPECT_EQ(message([&](auto& a) { a.qkv = {}; }), "qkv_conv_split: qkv is missing");
  EXPECT_EQ(message([&](auto& a) { a.qkv = a.qkv.slice(1, 0, 23); }), "qkv_conv_split: qkv has shape [5, 23], wanted [5, 24]");
  EXPECT_EQ(message([&](auto& a) { a.k = half; }), "qkv_conv_split: k is BF16, wanted F32");
  EXPECT_EQ(message([&](auto& a) { a.conv_ring = bf16_ring; }), "qkv_conv_split: conv_ring is BF16, which keeps rows of BF16 only");
  EXPECT_EQ(message([&](auto& a) { a.weight = wide; }), "qkv_conv_split: weight has a width outside 2 to 4");
  EXPECT_EQ(message([&](auto& a) { a.dt_bias = {}; }), "qkv_conv_split: dt_bias is missing");
  const std::string ring = "qkv_conv_split: conv_ring must hold a power of two of rows, no fewer than the weight's width";
  EXPECT_EQ(message([&](auto& a) { a.conv_ring = small; }), ring);
  EXPECT_EQ(message([&](auto& a) { a.conv_ring = odd; }), ring);
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = late; }), "qkv_conv_split: cu_seqlens[2] is 6, wanted 2 to 5");
  EXPECT_EQ(message([&](auto& a) { a.slots = far; }), "qkv_conv_split: slots[1] is 3, the pool has 3");
  EXPECT_EQ(message([&](auto& a) { a.start = early; }), "qkv_conv_split: start[1] is -1, wanted a position of 0 or more");
}

}  // namespace
}  // namespace sluice
