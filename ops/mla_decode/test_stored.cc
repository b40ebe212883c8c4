// Rows that mla_kv_store wrote are the rows that mla_decode reads, in each format that both have.
#include <cstring>

#include "ops/mla_decode/mla_decode.h"
#include "ops/mla_kv_store/mla_kv_store.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr int64_t kLatent = 512, kRope = 64, kPage = 64, kPages = 3, kTokens = 70, kHeads = 5;
constexpr int64_t kWidth = kLatent + kRope, kV32Bytes = mla_v32_row_bytes(kLatent, kRope);

// A sequence of kTokens tokens in pages 2 and 0.
struct Stored {
  Random random{1};
  Storage latent = random.normal(DType::kBF16, {kTokens, kLatent}, 2), rope = random.normal(DType::kBF16, {kTokens, kRope});
  Storage q_nope = random.normal(DType::kBF16, {1, kHeads, kLatent}), q_pe = random.normal(DType::kBF16, {1, kHeads, kRope});
  Storage table = ints_of({{2, 0}}), lens = ints({kTokens}), loc = locations();

  static Storage ints_of(const std::vector<std::vector<int64_t>>& rows) {
    Storage s(DType::kI32, {int64_t(rows.size()), int64_t(rows[0].size())});
    std::vector<int64_t> all;
    for (const auto& r : rows) all.insert(all.end(), r.begin(), r.end());
    size_t i = 0;
    s.fill([&] { return all[i++]; });
    return s;
  }
  static Storage locations() {
    std::vector<int64_t> v;
    for (int64_t t = 0; t < kTokens; ++t) v.push_back((t < kPage ? 2 : 0) * kPage + t % kPage);
    return ints(v);
  }
  void store(const Storage& rows, MlaCacheFormat format) const {
    const MlaKvStoreArgs args{.latent = latent, .rope = rope, .loc = loc, .cache = {.rows = rows, .format = format}};
    ASSERT_TRUE(check_mla_kv_store(args).ok()) << check_mla_kv_store(args).message();
    run_ok(impl_named(mla_kv_store_impls(), "reference"), args);
  }
  // So small a scale weighs the keys much alike: what rounding to e4m3 does is then its error in a value, 2.6 % rms.
  MlaDecodeArgs decode(const Storage& kv, const Storage& o) const {
    return {.q_nope = q_nope, .q_pe = q_pe, .kv = kv, .block_table = table, .seq_lens = lens, .o = o, .scale = 0.01f};
  }
  Storage reference(const Storage& kv) const {
    Storage o(DType::kF32, {1, kHeads, kLatent});
    run_ok(impl_named(mla_decode_impls(), "reference"), decode(kv, o));
    return o;
  }
};

// The same rows as numbers, by the format's published layout: 512 codes, four scales, 64 bf16.
Storage widened(const Storage& v32) {
  Storage wide(DType::kF32, {kPages, kPage, kWidth});
  const auto* bytes = v32.tensor().as<uint8_t>();
  int64_t at = 0;
  wide.fill([&] {
    const uint8_t* row = bytes + at / kWidth * kV32Bytes;
    const int64_t i = at++ % kWidth;
    if (i >= kLatent) {
      Bf16 x;
      std::memcpy(&x, row + kLatent + 16 + 2 * (i - kLatent), 2);
      return double(float(x));
    }
    float scale;
    std::memcpy(&scale, row + kLatent + 4 * (i / 128), 4);
    F8E4M3 code;
    code.bits = row[i];
    return double(float(code)) * double(scale);
  });
  return wide;
}

TEST(MlaDecodeStored, PlainRows) {
  const Stored s;
  Storage kv(DType::kBF16, {kPages, kPage, kWidth});
  s.store(kv, MlaCacheFormat::kPlain);
  const Storage want = s.reference(kv);
  for (const auto* impl : runnable(mla_decode_impls(), s.decode(kv, want))) {
    Storage got(DType::kF32, {1, kHeads, kLatent});
    run_ok(*impl, s.decode(kv, got));
    expect_close(got, want, {8e-3, 2e-2}, impl->name);
  }
}

TEST(MlaDecodeStored, RowsOfFlashMla) {
  const Stored s;
  Storage plain(DType::kBF16, {kPages, kPage, kWidth}), kv(DType::kU8, {kPages, kPage, kV32Bytes});
  s.store(plain, MlaCacheFormat::kPlain);
  s.store(kv, MlaCacheFormat::kFlashMlaV32);
  const Storage want = s.reference(kv);
  expect_close(want, s.reference(widened(kv)), {2e-6, 2e-5}, "bytes against the numbers they stand for");
  expect_close(want, s.reference(plain), {4e-2, 8e-2}, "against rows that were not rounded");
  for (const auto* impl : runnable(mla_decode_impls(), s.decode(kv, want))) {
    Storage got(DType::kF32, {1, kHeads, kLatent});
    run_ok(*impl, s.decode(kv, got));
    expect_close(got, want, {8e-3, 2e-2}, impl->name);
  }
}

}  // namespace
}  // namespace sluice
