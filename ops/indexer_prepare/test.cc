#include "ops/hadamard/hadamard.h"
#include "ops/indexer_prepare/forms.h"
#include "ops/indexer_prepare/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr RopeStyle kStyles[] = {RopeStyle::kHalfSplit, RopeStyle::kInterleaved};
constexpr Fp8ScaleRounding kRoundings[] = {Fp8ScaleRounding::kNone, Fp8ScaleRounding::kPowerOfTwo};
constexpr DType kFloats[] = {DType::kF32, DType::kBF16};

std::string name_of(const IndexerPrepareArgs& a) {
  const std::string style = a.style == RopeStyle::kHalfSplit ? " half-split" : " interleaved";
  return std::to_string(indexer_tokens(a)) + " tokens of " + std::to_string(indexer_dim(a)) + style +
         (a.hadamard ? " hadamard" : "");
}

// Every form that runs here against the reference; `halves` puts queries and keys of a call's outputs into its arguments.
template <class Halves, class Fresh, class Compare>
void expect_as_reference(IndexerPrepareArgs args, Halves&& halves, Fresh&& fresh, Compare&& compare) {
  const Made want = fresh();
  halves(args, want);
  ASSERT_TRUE(check_indexer_prepare(args).ok()) << check_indexer_prepare(args).message();
  run_ok(impl_named(indexer_prepare_impls(), "reference"), args);
  for (const auto* impl : runnable(indexer_prepare_impls(), args)) {
    const Made got = fresh();
    halves(args, got);
    run_ok(*impl, args);
    compare(got, want, std::string(impl->name) + " " + name_of(args));
  }
}

TEST(IndexerPrepare, QueriesMatchReference) {
  Random random(1);
  for (const DType in : kFloats)
    for (const DType out : {DType::kF8E4M3, DType::kF32, DType::kBF16})
      for (const IndexerPrepareCase& c : kIndexerPrepareCases)
        for (const int64_t offset : {0, 1}) {  // elements in front of q: an odd address
          const Given given(random, c, in, offset, offset ? DType::kI64 : DType::kI32);
          for (const RopeStyle style : kStyles)
            for (const bool hadamard : {false, true}) {
              if (hadamard && !std::has_single_bit(uint64_t(c.dim))) continue;
              expect_as_reference(
                  {.positions = given.positions, .cos_sin = given.cos_sin, .style = style, .hadamard = hadamard},
                  [&](IndexerPrepareArgs& a, const Made& made) { a.q = query_of(given, made); },
                  [&] { return Made(c, out, DType::kF32); }, expect_queries);
            }
        }
}

TEST(IndexerPrepare, KeysMatchReference) {
  Random random(2);
  for (const DType in : kFloats)
    for (const DType out : kFloats)
      for (const IndexerPrepareCase& c : kIndexerPrepareCases) {
        const Given given(random, c, in, out == DType::kF32 ? 0 : 1);
        for (const RopeStyle style : kStyles)
          for (const bool hadamard : {false, true}) {
            if (hadamard && !std::has_single_bit(uint64_t(c.dim))) continue;
            expect_as_reference(
                {.positions = given.positions, .cos_sin = given.cos_sin, .style = style, .hadamard = hadamard},
                [&](IndexerPrepareArgs& a, const Made& made) { a.k = key_of(given, made); },
                [&] { return Made(c, DType::kF32, out); },
                [&](const Made& got, const Made& want, const std::string& what) {
                  expect_close(got.k, want.k, limit_of(out), what);
                });
          }
      }
}

// Into pages of every size; what is negative or behind the last page is not written.
TEST(IndexerPrepare, CacheMatchesReference) {
  Random random(3);
  const IndexerPrepareCase c{9, 3, 128, 64, 16};
  for (const DType index : {DType::kI32, DType::kI64})
    for (const int64_t page : {1, 2, 64, 256})
      for (const int64_t slack : {0, 4, 16})
        for (const Fp8ScaleRounding rounding : kRoundings) {
          const Given given(random, c, DType::kBF16);
          const int64_t slots = Made::kPages * page;
          std::vector<int64_t> locs{slots - 1,       -1, 0, slots, page, -(int64_t(1) << 30), slots / 2 + 1, slots + 500,
                                    int64_t(1) << 30};
          if (index == DType::kI64) locs.back() = int64_t(1) << 40;
          const Storage loc = ints(locs, index);
          std::vector<int64_t> written;
          for (const int64_t l : locs)
            if (l >= 0 && l < slots) written.push_back(l);
          ASSERT_EQ(written.size(), 4u);
          expect_as_reference(
              {.positions = given.positions, .cos_sin = given.cos_sin, .hadamard = slack == 16, .scale_rounding = rounding},
              [&](IndexerPrepareArgs& a, const Made& made) {
                a.q = query_of(given, made), a.k = key_of(given, made, loc);
                if (slack) a.k.out = {};
              },
              [&] { return Made(c, DType::kF8E4M3, DType::kBF16, page, slack); },
              [&](const Made& got, const Made& want, const std::string& what) {
                expect_cache(got, want, written, what);
                expect_queries(got, want, what);
                if (!slack) expect_close(got.k, want.k, limit_of(DType::kBF16), what);
              });
        }
}

// The layout written once more by hand: codes of all of a page's tokens, then their scales.
TEST(IndexerPrepare, CacheLayout) {
  Storage cache(DType::kU8, {3, 4 * 132}, 4 * 132 + 12);
  const IndexCacheLayout layout(cache.tensor());
  EXPECT_EQ(layout.slots, 12);
  EXPECT_EQ(layout.codes(6), 540 + 2 * 128);
  EXPECT_EQ(layout.scale(6), 540 + 4 * 128 + 2 * 4);
  EXPECT_FALSE(layout.holds(-1));
  EXPECT_FALSE(layout.holds(12));
}

// Without rope's turn (position 0), whole numbers: the scale of 448 * 2^k is 2^k, and codes times scale are what came in.
TEST(IndexerPrepare, ExactScales) {
  const IndexerPrepareCase c{4, 1, 128, 64, 0};
  Random random(4);
  Given given(random, c, DType::kF32);
  given.positions.fill([] { return 0; });
  int64_t at = 0;
  given.q.fill([&] {
    const int64_t t = at / 128, d = at % 128;
    ++at;
    return t == 3 ? 0.0 : std::ldexp(d == 7 ? -448 : double(d % 16), int(t) - 3);
  });
  for (const Fp8ScaleRounding rounding : kRoundings) {
    IndexerPrepareArgs args{.positions = given.positions, .cos_sin = given.cos_sin, .scale_rounding = rounding};
    for (const auto* impl : runnable(indexer_prepare_impls(), args)) {
      const Made made(c, DType::kF8E4M3, DType::kF32);
      args.q = query_of(given, made);
      run_ok(*impl, args);
      const std::vector<double> codes = made.q.values(), scale = made.scale.values(), gate = made.gate.values();
      for (int64_t i = 0; i < 3 * 128; ++i)
        EXPECT_EQ(codes[size_t(i)] * scale[size_t(i / 128)], given.q.values()[size_t(i)]) << impl->name;
      const double least = rounding == Fp8ScaleRounding::kNone ? double(1e-4f / 448) : 0x1p-22;  // 2^-22.09
      EXPECT_EQ(scale, (std::vector<double>{0.125, 0.25, 0.5, least})) << impl->name;
      EXPECT_EQ(codes[3 * 128], 0) << impl->name;
      for (size_t t = 0; t < 4; ++t)
        EXPECT_NEAR(gate[t], given.weights.values()[t] * scale[t] / std::sqrt(128.0), 1e-7 * std::abs(gate[t])) << impl->name;
    }
  }
}

TEST(IndexerPrepare, PowersOfTwo) {
  constexpr auto kUp = Fp8ScaleRounding::kPowerOfTwo;
  EXPECT_EQ(fp8_row_scale(448, kUp), 1);
  EXPECT_EQ(fp8_row_scale(std::nextafter(448.0f, 500.0f), kUp), 2);
  EXPECT_EQ(fp8_row_scale(300, kUp), 1);
  EXPECT_EQ(fp8_row_scale(0, kUp), 0x1p-22f);
  EXPECT_EQ(fp8_row_scale(INFINITY, kUp), INFINITY);
  EXPECT_EQ(fp8_row_scale(300, Fp8ScaleRounding::kNone), 300.0f / 448);
}

// Not quantised, a call is the operators rope and hadamard one after the other.
TEST(IndexerPrepare, IsRopeThenHadamard) {
  Random random(5);
  const IndexerPrepareCase c{20, 3, 128, 64, 0};
  const Given given(random, c, DType::kF32);
  const std::vector<double> frequencies = rope_frequencies(10000, 64);
  for (const RopeStyle style : kStyles) {
    const Storage want(DType::kF32, {20, 3, 128});
    ASSERT_TRUE(rope(context(), {.q = given.q,
                                 .positions = given.positions,
                                 .inv_freq = Tensor::of(frequencies.data(), {32}),
                                 .q_out = want,
                                 .style = style})
                    .ok());
    ASSERT_TRUE(hadamard(context(), {.x = want, .y = want}).ok());
    IndexerPrepareArgs args{.positions = given.positions, .cos_sin = given.cos_sin, .style = style, .hadamard = true};
    for (const auto* impl : runnable(indexer_prepare_impls(), args)) {
      const Made made(c, DType::kF32, DType::kF32);
      args.q = query_of(given, made);
      run_ok(*impl, args);
      expect_close(made.q, want, limit_of(DType::kF32), impl->name);
    }
  }
}

TEST(IndexerPrepare, SameBitsAloneInABatchAndInHalves) {
  Random random(6);
  for (const int64_t dim : {48, 128}) {
    const IndexerPrepareCase c{67, 5, dim, 16 * (dim / 32), 0};
    const Given given(random, c, DType::kBF16);
    const Storage loc = ints([&] {
      std::vector<int64_t> v;
      for (int64_t t = 0; t < 67; ++t) v.push_back((t * 19) % 67);
      return v;
    }());
    IndexerPrepareArgs args{.positions = given.positions, .cos_sin = given.cos_sin, .style = RopeStyle::kInterleaved};
    const auto put = [&](const Made& made, bool q, bool k) {
      args.q = q ? query_of(given, made) : IndexerQuery();
      args.k = k ? key_of(given, made, dim == 128 ? loc.tensor() : Tensor()) : IndexerKey();
    };
    for (const auto* impl : runnable(indexer_prepare_impls(), args)) {
      const auto fresh = [&] { return Made(c, DType::kF8E4M3, DType::kF32); };
      const Made whole = fresh(), one_thread = fresh(), halves = fresh(), rows = fresh();
      put(whole, true, true), run_ok(*impl, args);
      put(one_thread, true, true), run_ok(*impl, args, 1);
      put(halves, true, false), run_ok(*impl, args);
      put(halves, false, true), run_ok(*impl, args);
      for (int64_t t = 0; t < 67; ++t) {
        put(rows, true, true);
        IndexerPrepareArgs one = args;
        for (Tensor* x :
             {&one.q.x, &one.q.weights, &one.q.out, &one.q.scale, &one.q.gate, &one.k.x, &one.k.out, &one.k.loc, &one.positions})
          if (x->present()) *x = x->slice(0, t, t + 1);
        run_ok(*impl, one);
      }
      for (const Made* other : {&one_thread, &halves, &rows}) {
        expect_same_bits(whole.q, other->q, impl->name);
        expect_same_bits(whole.scale, other->scale, impl->name);
        expect_same_bits(whole.gate, other->gate, impl->name);
        expect_same_bits(whole.k, other->k, impl->name);
        expect_same_bits(whole.cache, other->cache, impl->name);
      }
    }
  }
}

TEST(IndexerPrepare, OutputsMayBeInputs) {
  Random random(7);
  for (const DType dtype : kFloats)
    for (const int64_t dim : {128, 64}) {
      const IndexerPrepareCase c{33, 3, dim, 64, 0};
      IndexerPrepareArgs args;
      for (const auto* impl : runnable(indexer_prepare_impls(), IndexerPrepareArgs{.k = {.x = Storage(dtype, {1, dim})}})) {
        const Given given(random, c, dtype);
        args = {.positions = given.positions, .cos_sin = given.cos_sin, .hadamard = true};
        const Made apart(c, dtype, dtype);
        args.q = query_of(given, apart), args.k = key_of(given, apart);
        run_ok(*impl, args);
        args.q.out = given.q, args.k.out = given.k;
        run_ok(*impl, args);
        EXPECT_EQ(given.q.values(), apart.q.values()) << impl->name;
        EXPECT_EQ(given.k.values(), apart.k.values()) << impl->name;
      }
    }
}

// A NaN gives NaN where it is, an infinity an infinite scale; neighbouring rows stay as they are.
TEST(IndexerPrepare, NotFinite) {
  const IndexerPrepareCase c{4, 1, 128, 64, 0};
  Random random(8);
  Given given(random, c, DType::kF32);
  int64_t at = 0;
  given.q.fill([&] {
    const int64_t i = at++;
    return i == 100 ? double(NAN) : i == 128 + 100 ? INFINITY : i / 128 == 2 ? 1e-42 : 448.0;
  });
  given.positions.fill([] { return 0; });
  IndexerPrepareArgs args{.positions = given.positions, .cos_sin = given.cos_sin};
  for (const auto* impl : runnable(indexer_prepare_impls(), args)) {
    const Made made(c, DType::kF8E4M3, DType::kF32);
    args.q = query_of(given, made);
    run_ok(*impl, args);
    const std::vector<double> codes = made.q.values(), scale = made.scale.values();
    EXPECT_EQ(scale, (std::vector<double>{1, INFINITY, double(1e-4f / 448), 1})) << impl->name;
    for (size_t d = 0; d < 128; ++d) {
      if (d == 100) {
        EXPECT_TRUE(std::isnan(codes[d]) && std::isnan(codes[128 + d])) << impl->name;
      } else {
        EXPECT_EQ(codes[d], 448) << impl->name;
        EXPECT_EQ(codes[128 + d], 0) << impl->name;
      }
      EXPECT_EQ(codes[2 * 128 + d], 0) << impl->name;
      EXPECT_EQ(codes[3 * 128 + d], 448) << impl->name;
    }
  }
}

TEST(IndexerPrepare, PositionsOutsideTheTable) {
  Random random(9);
  const IndexerPrepareCase c{4, 2, 128, 64, 0};
  const Given given(random, c, DType::kF32);
  const Storage outside = ints({-1, 200, -(1 << 30), 1 << 30}), ends = ints({0, 199, 0, 199});
  IndexerPrepareArgs args{.cos_sin = given.cos_sin};
  for (const auto* impl : runnable(indexer_prepare_impls(), args)) {
    const Made a(c, DType::kF32, DType::kF32), b(c, DType::kF32, DType::kF32);
    args.positions = outside, args.q = query_of(given, a), args.k = key_of(given, a);
    run_ok(*impl, args);
    args.positions = ends, args.q = query_of(given, b), args.k = key_of(given, b);
    run_ok(*impl, args);
    expect_same_bits(a.q, b.q, impl->name);
    expect_same_bits(a.k, b.k, impl->name);
  }
}

TEST(IndexerPrepare, RefusesBadArguments) {
  Random random(10);
  const IndexerPrepareCase c{2, 3, 128, 64, 0};
  const Given given(random, c, DType::kBF16);
  const Made made(c, DType::kF8E4M3, DType::kF32);
  const Storage loc = ints({0, 1}), long_table(DType::kF32, {5, 130}), odd_page(DType::kU8, {2, 3 * 132});
  const auto message = [&](const std::function<void(IndexerPrepareArgs&)>& spoil) {
    IndexerPrepareArgs args{
        .q = query_of(given, made), .k = key_of(given, made, loc), .positions = given.positions, .cos_sin = given.cos_sin};
    spoil(args);
    return check_indexer_prepare(args).message();
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_EQ(message([](auto& a) { a.q = {}, a.k = {}; }), "indexer_prepare: q.x and k.x are both missing");
  EXPECT_EQ(message([](auto& a) { a.q.gate = {}; }), "indexer_prepare: q.gate is missing");
  EXPECT_EQ(message([](auto& a) { a.q.out = a.q.x; }), "indexer_prepare: q.scale is there, but q.out is not F8_E4M3");
  EXPECT_EQ(message([](auto& a) { a.k.x = a.k.x.slice(0, 0, 1); }), "indexer_prepare: k.x has shape [1, 128], wanted [2, 128]");
  EXPECT_EQ(message([](auto& a) { a.k.norm_bias = {}; }), "indexer_prepare: k.norm_bias is missing");
  EXPECT_EQ(message([](auto& a) { a.k.out = {}, a.k.cache = {}; }), "indexer_prepare: k.out and k.cache are both missing");
  EXPECT_EQ(message([](auto& a) { a.k.loc = {}; }), "indexer_prepare: k.loc is missing");
  EXPECT_EQ(message([&](auto& a) { a.k.cache = odd_page; }),
            "indexer_prepare: the index cache's pages must have a power of two of tokens, 132 bytes each");
  EXPECT_EQ(message([&](auto& a) { a.cos_sin = long_table; }),
            "indexer_prepare: cos_sin's rows must be even in length and no longer than those of q and k");
  EXPECT_EQ(message([](auto& a) { a.positions.dtype = DType::kF32; }), "indexer_prepare: positions is F32, wanted I32 or I64");
  const IndexerPrepareCase six{2, 3, 96, 64, 0};
  const Given given96(random, six, DType::kBF16);
  const Made made96(six, DType::kF8E4M3, DType::kF32);
  IndexerPrepareArgs args{
      .q = query_of(given96, made96), .positions = given96.positions, .cos_sin = given96.cos_sin, .hadamard = true};
  EXPECT_EQ(check_indexer_prepare(args).message(), "indexer_prepare: Hadamard wants rows of a power of two of elements");
  args.q = {}, args.k = key_of(given96, made96, loc), args.hadamard = false;
  EXPECT_EQ(check_indexer_prepare(args).message(),
            "indexer_prepare: a key's row has not the 128 elements that the index cache holds");
}

}  // namespace
}  // namespace sluice
