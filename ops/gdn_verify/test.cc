#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_prefill/gdn_prefill.h"
#include "ops/gdn_verify/cases.h"
#include "ops/gdn_verify/gdn_verify.h"

namespace sluice {
namespace {

using namespace sluice::testing;

void prefill(const char* form, const GdnInputs& in, int64_t rows, GdnPool& pool, const Tensor& o) {
  const Storage cu = ints({0, rows}), start = ints({0}), slots = ints({0}), has = ints({1});
  auto args = gdn_args<GdnPrefillArgs>(in.rows(0, rows, o));
  args.cu_seqlens = cu, args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
  run_ok(impl_named(gdn_prefill_impls(), form), args);
}

// Rows [begin, begin + n) of slot 0 at position `start`.
void verify(const char* form, const GdnInputs& in, int64_t begin, int64_t n, int64_t start, GdnPool& pool, const Tensor& o) {
  const Storage cu = ints({0, n}), at = ints({start}), slots = ints({0}), has = ints({1});
  auto args = gdn_args<GdnVerifyArgs>(in.rows(begin, begin + n, o));
  args.cu_seqlens = cu, args.start = at, args.slots = slots, args.has_state = has, args.state = pool.state();
  const Status ok = check_gdn_verify(args);
  ASSERT_TRUE(ok.ok()) << ok.to_string();
  run_ok(impl_named(gdn_verify_impls(), form), args);
}

void close(const char* form, GdnPool& pool) {
  const Storage slots = ints({0}), rows = ints({64});
  run_ok(impl_named(gdn_close_impls(), form), GdnCloseArgs{.slots = slots, .rows = rows, .state = pool.state()});
}

std::vector<const char*> vector_forms() {
  if (context().cpu->avx512) return {"cpu", "avx512"};
  return {"cpu"};
}

// Rows from `first` on become NaN.
void poison(Storage& o, int64_t first) {
  const Tensor t = o.tensor().slice(0, first, o.tensor().dim(0));
  std::memset(t.data, 0xff, t.bytes());
}

TEST(GdnVerify, MatchesReference) {
  Random random(1);
  for (const GdnVerifyCase& c : kGdnVerifyCases)
    for (const Temper temper : {Temper::kStrong, Temper::kReflecting}) {
      const GdnShape d{c.HK, c.HV, c.K, c.V};
      const GdnInputs in(c.open + c.rows, d, temper, DType::kBF16, random);
      GdnPool before(1, d, random);
      Storage want_o(DType::kF32, {c.open + c.rows, c.HV, c.V});
      prefill("reference", in, c.open, before, want_o);
      GdnPool want(before);
      verify("reference", in, c.open, c.rows, c.open, want, want_o);
      for (const char* form : vector_forms()) {
        GdnPool got(before);
        Storage o(DType::kF32, {c.open + c.rows, c.HV, c.V});
        copy_into(want_o, o);
        poison(o, c.open);
        verify(form, in, c.open, c.rows, c.open, got, o);
        const std::string what = std::string(form) + ", open " + std::to_string(c.open);
        expect_close(o, want_o, kGdnF32, what + ": o");
        expect_close(closed_states(got, {0}, {c.open + c.rows}), closed_states(want, {0}, {c.open + c.rows}), kGdnF32,
                     what + ": state");
        EXPECT_EQ(got.s.bytes(), before.s.bytes()) << what << ": S must not change";
      }
    }
}

TEST(GdnVerify, SameBitsAsPrefill) {
  constexpr int64_t kTokens = 300;
  Random random(2);
  const GdnShape d{1, 2, 128, 64};
  const GdnInputs in(kTokens, d, Temper::kStrong, DType::kF32, random);
  const GdnPool before(1, d, random);
  for (const char* form : vector_forms()) {
    GdnPool want(before), pool(before);
    const Storage want_o(DType::kF32, {kTokens, d.HV, d.V}), o(DType::kF32, {kTokens, d.HV, d.V});
    prefill(form, in, kTokens, want, want_o);
    for (int64_t t = 0; t < kTokens; t += 4) {
      verify(form, in, t, 4, t, pool, o);
      if ((t + 4) % 64 == 0) close(form, pool);
    }
    expect_same_bits(o, want_o, form);
    expect_same_pool(pool, want, form);
  }
}

// Drafts of four whose last rows are rejected. Rejected rows are NaN here: nothing of them may come through.
TEST(GdnVerify, RejectedRowsLeaveNoTrace) {
  constexpr int64_t kTokens = 150;
  Random random(3);
  const GdnShape d{2, 2, 64, 48};
  const GdnInputs in(kTokens, d, Temper::kMild, DType::kF32, random);
  const GdnPool before(1, d, random);
  for (const char* form : vector_forms()) {
    GdnPool want(before), pool(before);
    const Storage want_o(DType::kF32, {kTokens, d.HV, d.V}), o(DType::kF32, {kTokens, d.HV, d.V});
    prefill(form, in, kTokens, want, want_o);
    const size_t row = size_t(d.HV * d.V) * sizeof(float);
    for (int64_t t = 0; t < kTokens;) {
      const int64_t rows = std::min<int64_t>(4, 64 - t % 64), accepted = std::min(random.integer(1, rows), kTokens - t);
      GdnInputs draft(rows, d, Temper::kMild, DType::kF32, random);
      const auto take = [&](const Storage& from, Storage& to) {
        const std::vector<double> v = from.values();
        const size_t width = v.size() / kTokens;
        size_t i = 0;
        to.fill([&] { return i < accepted * width ? v[t * width + i++] : NAN; });
      };
      take(in.q, draft.q), take(in.k, draft.k), take(in.v, draft.v), take(in.log_g, draft.log_g), take(in.beta, draft.beta);
      const Storage draft_o(DType::kF32, {rows, d.HV, d.V});
      verify(form, draft, 0, rows, t, pool, draft_o);
      std::memcpy(static_cast<char*>(o.tensor().data) + t * row, draft_o.tensor().data, accepted * row);
      t += accepted;
      if (t % 64 == 0) close(form, pool);
    }
    expect_same_bits(o, want_o, form);
    expect_same_open_chunk(pool, want, 0, kTokens % 64, form);
  }
}

TEST(GdnVerify, RefusesADraftAcrossTheChunk) {
  Random random(4);
  const GdnShape d{1, 1, 16, 16};
  const GdnInputs in(4, d, Temper::kMild, DType::kF32, random);
  const GdnPool pool(1, d, random);
  const Storage o(DType::kF32, {4, 1, 16}), cu = ints({0, 4}), start = ints({125}), slots = ints({0});
  auto args = gdn_args<GdnVerifyArgs>(in.rows(0, 4, o));
  args.cu_seqlens = cu, args.start = start, args.slots = slots, args.state = pool.state();
  EXPECT_EQ(check_gdn_verify(args).to_string(),
            "gdn_verify: sequence 0 has 61 open and 4 new rows, wanted at most 64 together; end the draft where the chunk ends");
}

}  // namespace
}  // namespace sluice
