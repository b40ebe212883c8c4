#include <algorithm>
#include <limits>
#include <map>

#include "ops/mla_kv_store/cases.h"
#include "ops/mla_kv_store/mla_kv_store.h"
#include "ops/mla_kv_store/slots.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr MlaCacheFormat kFormats[] = {MlaCacheFormat::kPlain, MlaCacheFormat::kScaledE4M3, MlaCacheFormat::kFlashMlaV32};
constexpr DType kValueTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// A number of any size: magnitudes from below e4m3's least to above its largest.
double any_size(Random& random) { return random.normal() * std::exp2(random.uniform(-14, 10)); }

// An empty cache of at least `slots` slots, 0xff throughout.
struct Cache {
  Storage rows;
  MlaCacheFormat format;
  float scale = 1;

  static int64_t width(MlaCacheFormat format, const MlaKvStoreCase& c) {
    if (format != MlaCacheFormat::kFlashMlaV32) return c.latent_dim + c.rope_dim + c.slack;
    return (mla_v32_row_bytes(c.latent_dim, c.rope_dim) + c.slack + 15) / 16 * 16;
  }
  static Storage make(MlaCacheFormat format, DType dtype, const MlaKvStoreCase& c, int64_t slots) {
    const int64_t W = width(format, c);
    if (c.page == 0) return Storage(dtype, {slots, W});
    return Storage(dtype, {(slots + c.page - 1) / c.page, c.page, W},
                   c.page * W + (c.slack ? 16 * c.slack : 0));  // slack of a page
  }
  static DType dtype_of(MlaCacheFormat format, DType input) {
    if (format == MlaCacheFormat::kPlain) return input;
    return format == MlaCacheFormat::kScaledE4M3 ? DType::kF8E4M3 : DType::kU8;
  }
  Cache(MlaCacheFormat format, DType input, const MlaKvStoreCase& c, int64_t slots)
      : rows(make(format, dtype_of(format, input), c, slots)), format(format) {}
  operator MlaCache() const { return {.rows = rows, .format = format, .scale = scale}; }  // NOLINT: passed wherever a cache is
};

struct Inputs {
  Storage latent, rope, loc;

  Inputs(Random& random, DType dtype, const MlaKvStoreCase& c, std::vector<int64_t> locations, DType index = DType::kI32)
      : latent(dtype, {c.tokens, c.latent_dim}, c.latent_stride),
        rope(dtype, {c.tokens, c.rope_dim}, c.rope_stride),
        loc(ints(locations, index)) {
    const bool numbers = std::ranges::find(kValueTypes, dtype) != std::end(kValueTypes);
    const auto next = [&] { return numbers ? any_size(random) : double(random.integer(0, 100)); };
    latent.fill(next), rope.fill(next);
  }
  MlaKvStoreArgs args(const Cache& cache) const { return {.latent = latent, .rope = rope, .loc = loc, .cache = cache}; }
};

// Distinct slots in no order, one in eight of them -1.
std::vector<int64_t> some_slots(Random& random, int64_t tokens, int64_t slots) {
  std::vector<int64_t> loc(static_cast<size_t>(slots));
  for (int64_t i = 0; i < slots; ++i) loc[size_t(i)] = i;
  for (int64_t i = slots - 1; i > 0; --i) std::swap(loc[size_t(i)], loc[size_t(random.integer(0, i))]);
  loc.resize(size_t(tokens));
  for (int64_t& l : loc)
    if (random.integer(0, 7) == 0) l = -random.integer(1, 3);
  return loc;
}

// Every form's cache, byte by byte, against the reference's; slots that nothing goes to keep theirs.
void compare(const MlaKvStoreArgs& args, const std::function<Cache()>& fresh, const std::string& what) {
  MlaKvStoreArgs call = args;
  const Cache want = fresh();
  call.cache = want;
  ASSERT_TRUE(check_mla_kv_store(call).ok()) << check_mla_kv_store(call).message();
  run_ok(impl_named(mla_kv_store_impls(), "reference"), call);
  EXPECT_TRUE(want.rows.margins_intact()) << what;
  for (const auto* impl : runnable(mla_kv_store_impls(), call))
    for (const int threads : {1, 2}) {
      const Cache got = fresh();
      call.cache = got;
      run_ok(*impl, call, threads);
      expect_same_bits(got.rows, want.rows, std::string(impl->name) + " " + what);
    }
}

TEST(MlaKvStore, MatchesReference) {
  Random random(1);
  for (const MlaCacheFormat format : kFormats)
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kI64})
      for (const MlaKvStoreCase& c : kMlaKvStoreCases) {
        const bool plain = format == MlaCacheFormat::kPlain;
        if (!plain && std::ranges::find(kValueTypes, dtype) == std::end(kValueTypes)) continue;
        if (format == MlaCacheFormat::kFlashMlaV32 && c.latent_dim % kMlaV32Group != 0) continue;
        const int64_t slots = c.tokens + 5;
        const Inputs in(random, dtype, c, some_slots(random, c.tokens, slots), c.tokens % 2 ? DType::kI32 : DType::kI64);
        const auto fresh = [&] {
          Cache cache(format, dtype, c, slots);
          cache.scale = c.tokens % 2 ? 1 : 0.3f;
          return cache;
        };
        compare(in.args(fresh()), fresh,
                std::string(dtype_name(dtype)) + " " + std::to_string(int(format)) + " " + std::to_string(c.tokens) + "x" +
                    std::to_string(c.latent_dim));
      }
}

// Formats by hand: a row of two groups.
TEST(MlaKvStore, LayoutOfV32) {
  const MlaKvStoreCase c{.tokens = 1, .latent_dim = 256, .rope_dim = 2};
  EXPECT_EQ(mla_v32_row_bytes(512, 64), 656);
  std::vector<float> latent(256, 0.0f);
  latent[0] = 448, latent[1] = -1, latent[127] = 3;         // amax / 448 = 1: scale 1
  latent[128] = -449, latent[129] = 16, latent[255] = 900;  // above 2: scale 4
  const std::vector<float> rope{1.5f, -2};
  const Storage loc = ints({1});
  for (const auto* impl : runnable(mla_kv_store_impls(), MlaKvStoreArgs{})) {
    const Cache cache(MlaCacheFormat::kFlashMlaV32, DType::kF32, c, 2);
    run_ok(*impl,
           {.latent = Tensor::of(latent.data(), {1, 256}), .rope = Tensor::of(rope.data(), {1, 2}), .loc = loc, .cache = cache});
    const uint8_t* row = cache.rows.tensor().as<uint8_t>() + cache.rows.tensor().stride[0];
    const auto code = [](float x) { return F8E4M3(x).bits; };
    EXPECT_EQ(row[0], code(448)) << impl->name;
    EXPECT_EQ(row[1], code(-1)) << impl->name;
    EXPECT_EQ(row[2], 0) << impl->name;
    EXPECT_EQ(row[127], code(3)) << impl->name;
    EXPECT_EQ(row[128], code(-112)) << impl->name;  // 112.25: a step is 8
    EXPECT_EQ(row[129], code(4)) << impl->name;
    EXPECT_EQ(row[255], code(225)) << impl->name;
    float scales[2];
    std::memcpy(scales, row + 256, sizeof scales);
    EXPECT_EQ(scales[0], 1) << impl->name;
    EXPECT_EQ(scales[1], 4) << impl->name;
    Bf16 keys[2];
    std::memcpy(keys, row + 264, sizeof keys);
    EXPECT_EQ(float(keys[0]), 1.5f) << impl->name;
    EXPECT_EQ(float(keys[1]), -2) << impl->name;
    EXPECT_EQ(row[268], 0xff) << impl->name;
  }
}

TEST(MlaKvStore, ScalesOfV32) {
  const auto by_definition = [](float amax) { return std::exp2(std::ceil(std::log2(std::max(double(amax) / 448, 1e-4)))); };
  for (int e = -149; e < 128; ++e)
    for (const float mantissa : {1.0f, 1.25f, 1.75f, 1.9f}) {
      const float middle = std::ldexp(mantissa, e);
      for (const float amax : {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 2 * middle)})
        if (std::isfinite(amax)) {
          EXPECT_EQ(mla_power_of_2(mla_v32_exponent(amax)), by_definition(amax)) << amax;
        }
    }
  EXPECT_EQ(mla_power_of_2(mla_v32_exponent(0)), std::exp2(-13));
  EXPECT_EQ(mla_v32_exponent(INFINITY), mla_v32_exponent(std::numeric_limits<float>::max()));
}

// NaN comes out as NaN and nothing else changes for it; infinities stop at 448 of the scale.
TEST(MlaKvStore, NotFiniteAndTiny) {
  const MlaKvStoreCase c{.tokens = 3, .latent_dim = 128, .rope_dim = 4};
  Storage latent(DType::kF32, {3, 128}), rope(DType::kF32, {3, 4});
  int at = 0;
  latent.fill([&] {
    const int row = at / 128, i = at++ % 128;
    if (i == 5) return row == 0 ? double(NAN) : row == 1 ? -double(INFINITY) : 1e-42;
    return row == 1 ? 1.0 : row == 0 ? 448.0 : 0.0;
  });
  rope.fill([&] { return at++ % 2 ? double(NAN) : double(INFINITY); });
  const Storage loc = ints({2, 0, 1});
  for (const MlaCacheFormat format : {MlaCacheFormat::kScaledE4M3, MlaCacheFormat::kFlashMlaV32})
    for (const auto* impl : runnable(mla_kv_store_impls(), MlaKvStoreArgs{})) {
      const Cache cache(format, DType::kF32, c, 4);
      run_ok(*impl, {.latent = latent, .rope = rope, .loc = loc, .cache = cache});
      const bool v32 = format == MlaCacheFormat::kFlashMlaV32;
      const auto row = [&](int64_t slot) { return cache.rows.tensor().as<uint8_t>() + slot * cache.rows.tensor().stride[0]; };
      const auto value = [&](int64_t slot, int64_t i) {
        F8E4M3 x;
        x.bits = row(slot)[i];
        return float(x);
      };
      EXPECT_TRUE(std::isnan(value(2, 5))) << impl->name;
      EXPECT_EQ(value(2, 6), 448) << impl->name;
      EXPECT_EQ(value(0, 5), -448) << impl->name;
      EXPECT_EQ(value(0, 6), v32 ? 0 : 1) << impl->name;
      EXPECT_EQ(value(1, 5), 0) << impl->name;
      if (!v32) {
        EXPECT_TRUE(std::isnan(value(2, 129)) != std::isnan(value(2, 128))) << impl->name;
        continue;
      }
      float scale[3];
      for (int slot = 0; slot < 3; ++slot) std::memcpy(&scale[slot], row(slot) + 128, sizeof scale[slot]);
      EXPECT_EQ(scale[2], 1) << impl->name;
      EXPECT_EQ(scale[0], std::exp2(120.0f)) << impl->name;
      EXPECT_EQ(scale[1], std::exp2(-13.0f)) << impl->name;
    }
}

// Which slots are written, and by which token: each token's row holds its number.
std::map<int64_t, int64_t> written(const Impl<MlaKvStoreArgs>& impl, const std::vector<int64_t>& locations, int64_t slots,
                                   int64_t skip, int rank, int world, DType index) {
  const int64_t T = int64_t(locations.size());
  Storage latent(DType::kI32, {T, 3}), rows(DType::kI32, {slots, 3});
  int64_t i = 0;
  latent.fill([&] { return double(i++ / 3); });
  const Storage loc = ints(locations, index);
  run_ok(impl, {.latent = latent, .loc = loc, .cache = {.rows = rows}, .reserved_skip_index = skip, .rank = rank, .world = world});
  std::map<int64_t, int64_t> tokens;
  for (int64_t s = 0; s < slots; ++s)
    if (const int32_t* row = rows.tensor().as<int32_t>() + 3 * s; row[0] >= 0) {
      EXPECT_TRUE(row[1] == row[0] && row[2] == row[0]) << impl.name;
      tokens[s] = row[0];
    }
  EXPECT_TRUE(rows.margins_intact()) << impl.name;
  return tokens;
}

TEST(MlaKvStore, LocationsThatAreSkipped) {
  using Slots = std::map<int64_t, int64_t>;
  for (const auto* impl : runnable(mla_kv_store_impls(), MlaKvStoreArgs{}))
    for (const DType index : {DType::kI32, DType::kI64}) {
      const std::vector<int64_t> loc{0, 3, -1, 0, 2, -7, 4, 5};  // 0 twice: padding; 5 is behind the end of a shard of 5
      EXPECT_EQ(written(*impl, loc, 6, 0, 0, 1, index), (Slots{{3, 1}, {2, 4}, {4, 6}, {5, 7}})) << impl->name;
      EXPECT_EQ(written(*impl, {0, 3, -1, 2}, 6, -1, 0, 1, index), (Slots{{0, 0}, {3, 1}, {2, 3}})) << impl->name;
      EXPECT_EQ(written(*impl, {0, 3, -1, 2}, 6, 2, 0, 1, index), (Slots{{0, 0}, {3, 1}})) << impl->name;
      EXPECT_EQ(written(*impl, {1, 5, 6}, 5, -1, 0, 1, index), (Slots{{1, 0}})) << impl->name;  // of 5 slots
      // Shards of 3 slots: location 7 is row 2 of shard 1.
      EXPECT_EQ(written(*impl, {7, 0, 2, 4, 8, -1}, 3, -1, 1, 3, index), (Slots{{2, 0}, {1, 3}})) << impl->name;
      EXPECT_EQ(written(*impl, {7, 0, 2, 4, 8, 5}, 3, 5, 2, 3, index), (Slots{{0, 2}, {2, 4}})) << impl->name;
      EXPECT_EQ(written(*impl, {9, 10, 6}, 3, -1, 0, 3, index), (Slots{{2, 2}})) << impl->name;  // behind the last shard's rows
    }
  for (const auto* impl : runnable(mla_kv_store_impls(), MlaKvStoreArgs{}))
    EXPECT_EQ(written(*impl, {int64_t(1) << 32, (int64_t(1) << 32) + 1, 2}, 4, -1, 0, 1, DType::kI64), (Slots{{2, 2}}))
        << impl->name;
}

// Locations that are equal: every element comes from one of their tokens.
TEST(MlaKvStore, EqualLocations) {
  Storage latent(DType::kBF16, {40, 512}), rope(DType::kBF16, {40, 64});
  int64_t i = 0;
  latent.fill([&] { return double(i++ / 512); });
  i = 0;
  rope.fill([&] { return double(i++ / 64); });
  const Storage loc = ints(std::vector<int64_t>(40, 1));
  for (const auto* impl : runnable(mla_kv_store_impls(), MlaKvStoreArgs{})) {
    const Storage rows(DType::kBF16, {3, 576});
    run_ok(*impl, {.latent = latent, .rope = rope, .loc = loc, .cache = {.rows = rows}}, 1);
    const std::vector<double> values = rows.values();
    for (int64_t d = 0; d < 3 * 576; ++d) {
      const bool written = d / 576 == 1;
      EXPECT_EQ(std::isnan(values[size_t(d)]), !written) << impl->name;
      EXPECT_TRUE(!written || (values[size_t(d)] >= 0 && values[size_t(d)] < 40)) << impl->name;
    }
  }
}

// A token's row is the same bytes alone, through [T, 1, D] views and into [slots, 1, W] caches.
TEST(MlaKvStore, AloneAndThroughOtherViews) {
  Random random(3);
  const MlaKvStoreCase c{.tokens = 9, .latent_dim = 512, .rope_dim = 64, .page = 1};
  const std::vector<int64_t> slots = some_slots(random, 9, 12);
  for (const MlaCacheFormat format : kFormats)
    for (const auto* impl : runnable(mla_kv_store_impls(), MlaKvStoreArgs{})) {
      const Inputs in(random, DType::kBF16, c, slots);
      const Cache together(format, DType::kBF16, c, 12), alone(format, DType::kBF16, c, 12);
      MlaKvStoreArgs args = in.args(together);
      run_ok(*impl, args);
      args.latent = args.latent.split_last(1, 512), args.rope = args.rope.split_last(1, 64), args.cache = alone;
      ASSERT_TRUE(check_mla_kv_store(args).ok()) << check_mla_kv_store(args).message();
      for (int64_t t = 0; t < 9; ++t) {
        MlaKvStoreArgs one = args;
        for (Tensor* x : {&one.latent, &one.rope, &one.loc}) *x = x->slice(0, t, t + 1);
        run_ok(*impl, one);
      }
      expect_same_bits(together.rows, alone.rows, impl->name);
    }
}

TEST(MlaKvStore, RefusesBadArguments) {
  const Storage latent(DType::kBF16, {2, 128}), rope(DType::kBF16, {2, 64}), f32(DType::kF32, {2, 64}),
      three(DType::kBF16, {3, 64}), heads(DType::kBF16, {2, 3, 128}), rows(DType::kBF16, {4, 192}), bytes(DType::kU8, {4, 272}),
      odd(DType::kU8, {4, 272}, 0, 1), fp8(DType::kF8E4M3, {2, 2, 192}), empty(DType::kBF16, {4, 0, 192}),
      wide(DType::kBF16, {2, 100});
  const Storage loc = ints({0, 1}), far = ints({0, 4}), padding = ints({-1, 9}), real(DType::kF32, {2});
  const auto message = [](const MlaKvStoreArgs& args) { return check_mla_kv_store(args).message(); };
  const MlaCache plain{.rows = rows}, scaled{.rows = fp8, .format = MlaCacheFormat::kScaledE4M3},
      v32{.rows = bytes, .format = MlaCacheFormat::kFlashMlaV32};
  EXPECT_EQ(message({.latent = latent, .rope = rope, .loc = loc, .cache = plain}), "");
  EXPECT_EQ(message({.latent = latent, .rope = rope, .loc = loc, .cache = v32}), "");
  EXPECT_EQ(message({}), "mla_kv_store: latent is missing");
  EXPECT_EQ(message({.latent = heads}), "mla_kv_store: latent has shape [2, 3, 128], wanted [2, 1, 128]");
  EXPECT_EQ(message({.latent = latent, .rope = three}), "mla_kv_store: rope has shape [3, 64], wanted [2, 64]");
  EXPECT_EQ(message({.latent = latent, .rope = f32}), "mla_kv_store: rope is F32, wanted BF16");
  EXPECT_EQ(message({.latent = latent, .rope = rope}), "mla_kv_store: loc is missing");
  EXPECT_EQ(message({.latent = latent, .rope = rope, .loc = real}), "mla_kv_store: loc is F32, wanted I32 or I64");
  EXPECT_EQ(message({.latent = latent, .loc = loc}), "mla_kv_store: cache.rows is missing");
  EXPECT_EQ(message({.latent = latent, .loc = loc, .cache = {.rows = empty}}),
            "mla_kv_store: cache.rows has pages of 0 rows, wanted 1 or more");
  EXPECT_EQ(message({.latent = latent, .loc = loc, .cache = {.rows = wide}}),
            "mla_kv_store: cache.rows is narrower than latent and rope together");
  EXPECT_EQ(message({.latent = latent, .loc = loc, .cache = {.rows = bytes}}), "mla_kv_store: latent is BF16, wanted U8");
  EXPECT_EQ(message({.latent = latent, .loc = loc, .cache = {.rows = rows, .format = MlaCacheFormat::kScaledE4M3}}),
            "mla_kv_store: cache.rows is BF16, wanted F8_E4M3");
  EXPECT_EQ(message({.latent = latent, .loc = loc, .cache = {.rows = fp8, .format = MlaCacheFormat::kScaledE4M3, .scale = 0}}),
            "mla_kv_store: cache.scale must be positive and finite");
  EXPECT_EQ(message({.latent = fp8.tensor()[0], .loc = loc, .cache = scaled}),
            "mla_kv_store: latent is F8_E4M3, wanted F32 or F16 or BF16");
  EXPECT_EQ(message({.latent = wide, .loc = loc, .cache = v32}),
            "mla_kv_store: latent's length must be a multiple of 128 for a cache in FlashMLA's V32 format");
  EXPECT_EQ(message({.latent = latent, .rope = latent, .loc = loc, .cache = v32}),
            "mla_kv_store: cache.rows has fewer bytes than a row of the V32 format");
  EXPECT_EQ(message({.latent = latent, .loc = loc, .cache = {.rows = odd, .format = MlaCacheFormat::kFlashMlaV32}}),
            "mla_kv_store: cache.rows must have rows at multiples of 16 bytes for FlashMLA's V32 format");
  EXPECT_EQ(message({.latent = latent, .loc = loc, .cache = plain, .rank = 2, .world = 2}),
            "mla_kv_store: rank must be one of 0 to world - 1");
  EXPECT_EQ(message({.latent = latent, .loc = far, .cache = plain}), "mla_kv_store: loc[1] is 4, but the cache has 4 slots");
  EXPECT_EQ(message({.latent = latent, .loc = padding, .cache = plain, .reserved_skip_index = 9}), "");
  EXPECT_EQ(message({.latent = latent, .loc = padding, .cache = plain, .world = 2}),
            "mla_kv_store: loc[1] is 9, but the cache has 4 slots in each of 2 shards");
}

}  // namespace
}  // namespace sluice
