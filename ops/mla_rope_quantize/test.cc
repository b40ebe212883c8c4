#include <algorithm>
#include <functional>

#include "ops/mla_kv_store/mla_kv_store.h"
#include "ops/mla_rope_quantize/cases.h"
#include "ops/mla_rope_quantize/mla_rope_quantize.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr int64_t kPositions = 300;

struct Inputs {
  int64_t T, H, N, R;
  Storage q, k, cos_sin, positions;  // rows of nope | gap | rope | gap

  Inputs(Random& random, const MlaRopeQuantizeCase& c, DType dtype, double size = 2)
      : T(c.tokens),
        H(c.heads),
        N(c.nope_dim),
        R(c.rope_dim),
        q(dtype, {T, H, N + R + 2 * c.gap}),
        k(dtype, {T, N + R + 2 * c.gap}),
        cos_sin(DType::kF32, {kPositions, R}),
        positions(T % 2 ? DType::kI32 : DType::kI64, {T}),
        gap_(c.gap) {
    const auto value = [&] { return random.normal() * std::exp2(random.uniform(-8, 2 * size)); };
    q.fill(value), k.fill(value);
    cos_sin.fill([&] { return random.uniform(-1, 1); });
    positions.fill([&] { return random.integer(0, kPositions - 1); });
  }
  MlaRopeQuantizeArgs args(RopeStyle style) const {
    MlaRopeQuantizeArgs a{.cos_sin = cos_sin, .positions = positions, .style = style, .scale_q = 0.5f, .scale_kv = 3};
    if (H > 0) a.q_nope = q.tensor().slice(2, 0, N), a.q_rope = q.tensor().slice(2, N + gap_, N + gap_ + R);
    a.k_nope = k.tensor().slice(1, 0, N), a.k_rope = k.tensor().slice(1, N + gap_, N + gap_ + R);
    return a;
  }

 private:
  int64_t gap_;
};

// q's and k's codes as one buffer each.
struct Outputs {
  Storage q, k;
  Outputs(const Inputs& in, DType dtype) : q(dtype, {in.T, in.H, in.N + in.R}), k(dtype, {in.T, in.N + in.R}) {}
  void place(MlaRopeQuantizeArgs& a, int64_t N) const {
    const int64_t W = k.tensor().dim(1);
    if (a.q_nope.present()) a.q_nope_out = q.tensor().slice(2, 0, N), a.q_rope_out = q.tensor().slice(2, N, W);
    if (a.k_nope.present()) a.k_nope_out = k.tensor().slice(1, 0, N), a.k_rope_out = k.tensor().slice(1, N, W);
  }
};

// Codes in order of their values; those of NaN are one.
int ordered(uint8_t code, DType dtype) {
  const int size = code & 0x7f;
  if (size > (dtype == DType::kF8E4M3 ? 0x7e : 0x7c)) return 1000;
  return code & 0x80 ? -size : size;
}

void expect_close_codes(const Storage& got, const Storage& want, const std::string& what) {
  const Tensor &g = got, &w = want;
  int64_t different = 0;
  int worst = 0;
  for (int64_t i = 0; i < w.numel(); ++i) {
    const int apart = std::abs(ordered(g.as<uint8_t>()[i], g.dtype) - ordered(w.as<uint8_t>()[i], w.dtype));
    worst = std::max(worst, apart), different += apart != 0;
  }
  EXPECT_LE(worst, 1) << what;
  EXPECT_LE(different, std::max<int64_t>(1, w.numel() / 1000)) << what;
  EXPECT_TRUE(got.margins_intact()) << what << ": wrote outside its output";
}

void compare(const Inputs& in, RopeStyle style, DType fp8, const std::string& what) {
  MlaRopeQuantizeArgs args = in.args(style);
  const Outputs want(in, fp8);
  want.place(args, in.N);
  ASSERT_TRUE(check_mla_rope_quantize(args).ok()) << check_mla_rope_quantize(args).message();
  run_ok(impl_named(mla_rope_quantize_impls(), "reference"), args);
  for (const auto* impl : runnable(mla_rope_quantize_impls(), args)) {
    const Outputs got(in, fp8), one_thread(in, fp8);
    got.place(args, in.N);
    run_ok(*impl, args);
    expect_close_codes(got.q, want.q, std::string(impl->name) + " q " + what);
    expect_close_codes(got.k, want.k, std::string(impl->name) + " k " + what);
    one_thread.place(args, in.N);
    run_ok(*impl, args, 1);
    expect_same_bits(got.q, one_thread.q, impl->name);
    expect_same_bits(got.k, one_thread.k, impl->name);
  }
}

TEST(MlaRopeQuantize, MatchesReference) {
  Random random(1);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16})
    for (const DType fp8 : {DType::kF8E4M3, DType::kF8E5M2})
      for (const RopeStyle style : {RopeStyle::kHalfSplit, RopeStyle::kInterleaved})
        for (const MlaRopeQuantizeCase& c : kMlaRopeQuantizeCases)
          compare(Inputs(random, c, dtype), style, fp8,
                  std::string(dtype_name(dtype)) + " " + std::to_string(c.tokens) + "x" + std::to_string(c.heads) + "x" +
                      std::to_string(c.nope_dim));
}

// By hand: a quarter turn of pairs (1, 2) and (3, 4), then scales.
TEST(MlaRopeQuantize, QuarterTurn) {
  const std::vector<float> x{1, 2, 3, 4}, table{1, 1, 0, 0, 0, 0, 1, 1};  // positions 0 and 1
  const Tensor rope = Tensor::of(x.data(), {1, 4});
  const Storage position = ints({1}, DType::kI64);
  const auto expect = [](const Storage& got, std::vector<double> want, const char* what) { EXPECT_EQ(got.values(), want) << what; };
  for (const auto* impl : runnable(mla_rope_quantize_impls(), MlaRopeQuantizeArgs{.cos_sin = rope, .positions = position}))
    for (const RopeStyle style : {RopeStyle::kHalfSplit, RopeStyle::kInterleaved}) {
      const Storage q(DType::kF8E4M3, {1, 1, 8}), k(DType::kF8E4M3, {1, 8});
      MlaRopeQuantizeArgs a{.q_rope = rope.split_last(1, 4),
                            .k_rope = rope,
                            .q_nope = rope.split_last(1, 4),
                            .k_nope = rope,
                            .cos_sin = Tensor::of(table.data(), {2, 4}),
                            .positions = position,
                            .q_rope_out = q.tensor().slice(2, 4, 8),
                            .k_rope_out = k.tensor().slice(1, 0, 4),  // k in the other order
                            .q_nope_out = q.tensor().slice(2, 0, 4),
                            .k_nope_out = k.tensor().slice(1, 4, 8),
                            .style = style,
                            .scale_q = 2,
                            .scale_kv = 100};
      run_ok(*impl, a);
      const bool half = style == RopeStyle::kHalfSplit;
      expect(q, half ? std::vector<double>{2, 4, 6, 8, -6, -8, 2, 4} : std::vector<double>{2, 4, 6, 8, -4, 2, -8, 6}, impl->name);
      expect(k,
             half ? std::vector<double>{-288, -384, 96, 192, 96, 192, 288, 384}
                  : std::vector<double>{-192, 96, -384, 288, 96, 192, 288, 384},
             impl->name);  // 100, 200, 300, 400 rounded
    }
}

// The cache gets what mla_kv_store makes of k's outputs, byte for byte.
TEST(MlaRopeQuantize, StoresAsTwoSteps) {
  Random random(2);
  for (const MlaRopeQuantizeCase& c : {MlaRopeQuantizeCase{33, 2, 512, 64, 0}, {12, 0, 512, 64, 0}, {6, 3, 100, 34, 1}})
    for (const RopeStyle style : {RopeStyle::kHalfSplit, RopeStyle::kInterleaved}) {
      const Inputs in(random, c, DType::kBF16);
      std::vector<int64_t> locations;
      for (int64_t t = 0; t < c.tokens; ++t) locations.push_back(t % 5 == 3 ? -1 : (t * 7 + 2) % 40);  // 7 is prime to 40: distinct
      const Storage loc = ints(locations, DType::kI64);
      const int64_t W = in.N + in.R;
      for (const auto* impl : runnable(mla_rope_quantize_impls(), in.args(style)))
        for (const int world : {1, 2}) {
          const Outputs apart(in, DType::kF8E4M3), fused(in, DType::kF8E4M3);
          const Storage want(DType::kF8E4M3, {8, 5, W}), got(DType::kF8E4M3, {8, 5, W});
          MlaRopeQuantizeArgs a = in.args(style);
          apart.place(a, in.N);
          run_ok(*impl, a);
          const MlaKvStoreArgs store{.latent = a.k_nope_out,
                                     .rope = a.k_rope_out,
                                     .loc = loc,
                                     .cache = {.rows = want},
                                     .reserved_skip_index = 2,
                                     .rank = world - 1,
                                     .world = world};
          run_ok(impl_named(mla_kv_store_impls(), "reference"), store);
          fused.place(a, in.N);
          a.k_nope_out = a.k_rope_out = Tensor();
          a.cache = {.rows = got, .format = MlaCacheFormat::kScaledE4M3, .scale = 1 / a.scale_kv}, a.loc = loc;
          a.reserved_skip_index = 2, a.rank = world - 1, a.world = world;
          ASSERT_TRUE(check_mla_rope_quantize(a).ok()) << check_mla_rope_quantize(a).message();
          run_ok(*impl, a);
          expect_same_bits(got, want, impl->name);
          expect_same_bits(fused.q, apart.q, impl->name);
          EXPECT_TRUE(got.margins_intact()) << impl->name;
        }
    }
}

TEST(MlaRopeQuantize, SameBitsAlone) {
  Random random(3);
  const Inputs in(random, {21, 5, 512, 64, 8}, DType::kF16);
  for (const RopeStyle style : {RopeStyle::kHalfSplit, RopeStyle::kInterleaved})
    for (const auto* impl : runnable(mla_rope_quantize_impls(), in.args(style))) {
      const Outputs together(in, DType::kF8E4M3), alone(in, DType::kF8E4M3);
      MlaRopeQuantizeArgs args = in.args(style);
      together.place(args, in.N);
      run_ok(*impl, args);
      alone.place(args, in.N);
      for (int64_t t = 0; t < in.T; ++t) {
        MlaRopeQuantizeArgs one = args;
        each_tensor(one, [&](Tensor& x) {
          if (x.present() && x.data != args.cos_sin.data) x = x.slice(0, t, t + 1);
        });
        run_ok(*impl, one);
      }
      expect_same_bits(together.q, alone.q, impl->name);
      expect_same_bits(together.k, alone.k, impl->name);
    }
}

TEST(MlaRopeQuantize, FarPositions) {
  constexpr int64_t kFar = 1 << 20;
  Storage table(DType::kF32, {kFar, 2});
  int64_t i = 0;
  table.fill([&] { return double(i++ / 2 % 251); });  // cosine and sine: the position modulo 251
  const std::vector<float> x{1, 0};
  const Tensor rope = Tensor::of(x.data(), {1, 2});
  for (const int64_t position : {163839, 1048575}) {
    const Storage positions = ints({position});
    for (const auto* impl : runnable(mla_rope_quantize_impls(), MlaRopeQuantizeArgs{.cos_sin = table, .positions = positions})) {
      const Storage out(DType::kF8E5M2, {1, 2}), nope(DType::kF8E5M2, {1, 0});
      run_ok(*impl, {.k_rope = rope,
                     .k_nope = Tensor::of(x.data(), {1, 0}),
                     .cos_sin = table,
                     .positions = positions,
                     .k_rope_out = out,
                     .k_nope_out = nope});
      const double want = float(F8E5M2(float(position % 251)));
      EXPECT_EQ(out.values(), (std::vector<double>{want, want})) << impl->name;
    }
  }
}

// NaN stays NaN, infinity stops at the largest number; a position that the table has not gives NaN, and nothing else changes.
TEST(MlaRopeQuantize, NotFinite) {
  const std::vector<float> nope{NAN, INFINITY, -INFINITY, 1e-30f, -3}, rope{1, 2}, table{1, 0};
  const Storage positions = ints({0, 1});
  for (const DType fp8 : {DType::kF8E4M3, DType::kF8E5M2})
    for (const auto* impl : runnable(mla_rope_quantize_impls(),
                                     MlaRopeQuantizeArgs{.cos_sin = Tensor::of(table.data(), {1, 2}), .positions = positions})) {
      const Storage nope_out(fp8, {2, 5}), rope_out(fp8, {2, 2});
      Tensor twice = Tensor::of(nope.data(), {2, 5}), rope_twice = Tensor::of(rope.data(), {2, 2});
      twice.stride[0] = rope_twice.stride[0] = 0;
      run_ok(*impl, {.k_rope = rope_twice,
                     .k_nope = twice,
                     .cos_sin = Tensor::of(table.data(), {1, 2}),
                     .positions = positions,
                     .k_rope_out = rope_out,
                     .k_nope_out = nope_out});
      const double most = fp8 == DType::kF8E4M3 ? 448 : 57344;
      const std::vector<double> got = nope_out.values(), turned = rope_out.values();
      for (const size_t row : {0, 5}) {
        EXPECT_TRUE(std::isnan(got[row])) << impl->name;
        EXPECT_EQ(std::vector<double>(got.begin() + row + 1, got.begin() + row + 5), (std::vector<double>{most, -most, 0, -3}))
            << impl->name;
      }
      EXPECT_EQ(turned[0], 1) << impl->name;
      EXPECT_EQ(turned[1], 2) << impl->name;
      EXPECT_TRUE(std::isnan(turned[2]) && std::isnan(turned[3])) << impl->name;
    }
}

// All numbers of e5m2, and what lies between them: to the nearest, in the middle to the even one, never past the largest.
TEST(MlaRopeQuantize, RoundingToE5M2) {
  const auto number = [](int bits) {
    F8E5M2 x;
    x.bits = uint8_t(bits);
    return float(x);
  };
  EXPECT_EQ(number(1), std::ldexp(1.0f, -16));
  EXPECT_EQ(number(0x3c), 1);
  EXPECT_EQ(number(0x7b), 57344);
  std::vector<float> x;
  std::vector<uint8_t> want;
  for (int bits = 0; bits < 0x7b; ++bits) {
    const float low = number(bits), high = number(bits + 1), middle = (low + high) / 2;
    for (const float sign : {1.0f, -1.0f})
      for (const auto& [value, code] : {std::pair{low, bits},
                                        {middle, bits + bits % 2},
                                        {std::nextafter(middle, low), bits},
                                        {std::nextafter(middle, high), bits + 1}})
        x.push_back(sign * value), want.push_back(uint8_t(code | (sign < 0 ? 0x80 : 0)));
  }
  for (const float large : {57344.0f, 60000.0f, 1e30f, INFINITY}) x.push_back(large), want.push_back(0x7b);
  const int64_t n = int64_t(x.size());
  const float one[] = {1, 0};
  const Storage position = ints({0});
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(F8E5M2(x[i]).bits, want[i]) << x[i];
  for (const auto* impl :
       runnable(mla_rope_quantize_impls(), MlaRopeQuantizeArgs{.cos_sin = Tensor::of(one, {1, 2}), .positions = position})) {
    const Storage got(DType::kF8E5M2, {1, n}), rope(DType::kF8E5M2, {1, 2});
    run_ok(*impl, {.k_rope = Tensor::of(one, {1, 2}),
                   .k_nope = Tensor::of(x.data(), {1, n}),
                   .cos_sin = Tensor::of(one, {1, 2}),
                   .positions = position,
                   .k_rope_out = rope,
                   .k_nope_out = got});
    const uint8_t* codes = got.tensor().as<uint8_t>();
    EXPECT_EQ(std::vector<uint8_t>(codes, codes + n), want) << impl->name;
  }
}

TEST(MlaRopeQuantize, RefusesBadArguments) {
  const Storage q(DType::kBF16, {2, 3, 8}), q4(DType::kBF16, {2, 3, 4}), k(DType::kBF16, {2, 8}), k4(DType::kBF16, {2, 4}),
      f32(DType::kF32, {2, 4});
  const Storage q8(DType::kF8E4M3, {2, 3, 8}), q84(DType::kF8E4M3, {2, 3, 4}), k8(DType::kF8E4M3, {2, 8}),
      k84(DType::kF8E4M3, {2, 4}), e5(DType::kF8E5M2, {2, 4});
  const Storage table(DType::kF32, {5, 4}), odd(DType::kF32, {5, 3}), positions = ints({0, 4}), far = ints({0, 5}),
                                                                      negative = ints({-1, 0});
  const Storage rows(DType::kF8E4M3, {3, 12}), plain(DType::kBF16, {3, 12}), loc = ints({0, 1}), behind = ints({0, 3});
  const MlaRopeQuantizeArgs good{.q_rope = q4,
                                 .k_rope = k4,
                                 .q_nope = q,
                                 .k_nope = k,
                                 .cos_sin = table,
                                 .positions = positions,
                                 .q_rope_out = q84,
                                 .k_rope_out = k84,
                                 .q_nope_out = q8,
                                 .k_nope_out = k8};
  const auto message = [&](const std::function<void(MlaRopeQuantizeArgs&)>& change) {
    MlaRopeQuantizeArgs a = good;
    change(a);
    return check_mla_rope_quantize(a).message();
  };
  using Args = MlaRopeQuantizeArgs;
  const std::string op = "mla_rope_quantize: ";
  const auto cached = [&](Args& a) {
    a.k_rope_out = a.k_nope_out = Tensor();
    a.cache = {.rows = rows, .format = MlaCacheFormat::kScaledE4M3}, a.loc = loc;
  };
  EXPECT_EQ(message([](Args&) {}), "");
  EXPECT_EQ(message(cached), "");
  EXPECT_EQ(message([](Args& a) { a.q_rope = a.q_nope = Tensor(), a.q_rope_out = a.q_nope_out = Tensor(); }), "");
  EXPECT_EQ(message([](Args& a) { a = {}; }), op + "q and k are both missing");
  EXPECT_EQ(message([](Args& a) { a.positions = Tensor(); }), op + "positions is missing");
  EXPECT_EQ(message([](Args& a) { a.cos_sin = Tensor(); }), op + "cos_sin is missing");
  EXPECT_EQ(message([&](Args& a) { a.cos_sin = odd; }), op + "cos_sin has rows of odd length, wanted as many sines as cosines");
  EXPECT_EQ(message([](Args& a) { a.q_nope = Tensor(); }), op + "q_nope is missing");
  EXPECT_EQ(message([](Args& a) { a.k_rope = Tensor(); }), op + "k_rope is missing");
  EXPECT_EQ(message([&](Args& a) { a.k_rope = f32; }), op + "k_rope is F32, wanted BF16");
  EXPECT_EQ(message([&](Args& a) { a.q_rope = q; }), op + "q_rope has shape [2, 3, 8], wanted [2, 3, 4]");
  EXPECT_EQ(message([&](Args& a) { a.k_rope = k; }), op + "k_rope has shape [2, 8], wanted [2, 4]");
  EXPECT_EQ(message([&](Args& a) { a.q_nope_out = q; }), op + "q_nope_out is BF16, wanted F8_E4M3 or F8_E5M2");
  EXPECT_EQ(message([&](Args& a) { a.k_rope_out = e5; }), op + "k_rope_out is F8_E5M2, wanted F8_E4M3");
  EXPECT_EQ(message([](Args& a) { a.k_rope_out = Tensor(); }), op + "k_rope_out is missing");
  EXPECT_EQ(message([&](Args& a) { a.positions = far; }), op + "positions[1] is 5, but cos_sin has rows 0 to 4");
  EXPECT_EQ(message([&](Args& a) { a.positions = negative; }), op + "positions[0] is -1, but cos_sin has rows 0 to 4");
  EXPECT_EQ(message([&](Args& a) { cached(a), a.k_nope_out = k8; }),
            op + "k_nope_out and k_rope_out must be absent where there is a cache");
  EXPECT_EQ(message([&](Args& a) { cached(a), a.k_nope = a.k_rope = Tensor(); }), op + "there is a cache, but no k to store in it");
  EXPECT_EQ(message([&](Args& a) { cached(a), a.cache.format = MlaCacheFormat::kPlain; }), op + "cache.format must be kScaledE4M3");
  EXPECT_EQ(message([&](Args& a) { cached(a), a.scale_kv = 4; }), op + "cache.scale must be 1 / scale_kv");
  EXPECT_EQ(message([&](Args& a) { cached(a), a.loc = Tensor(); }), op + "loc is missing");
  EXPECT_EQ(message([&](Args& a) { cached(a), a.loc = behind; }), op + "loc[1] is 3, but the cache has 3 slots");
  EXPECT_EQ(message([&](Args& a) { cached(a), a.cache.rows = plain; }), op + "cache.rows is BF16, wanted F8_E4M3");
}

}  // namespace
}  // namespace sluice
