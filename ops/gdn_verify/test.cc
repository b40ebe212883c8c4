#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_decode/gdn_decode.h"
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
  if (pool.s.tensor().dtype == DType::kF32) {  // on the CPU no other is served
    ASSERT_EQ(check_gdn_verify(args).to_string(), "");
  }
  run_ok(impl_named(gdn_verify_impls(), form), args);
}

void close(const char* form, GdnPool& pool) {
  const Storage slots = ints({0}), rows = ints({pool.rows()});
  run_ok(impl_named(gdn_close_impls(), form), GdnCloseArgs{.slots = slots, .rows = rows, .state = pool.state()});
}

// One token of slot 0 by gdn_decode.
void decode(const char* form, const GdnInputs& in, int64_t t, GdnPool& pool, const Tensor& o) {
  const Storage start = ints({t}), slots = ints({0}), has = ints({1});
  auto args = gdn_args<GdnDecodeArgs>(in.rows(t, t + 1, o));
  args.start = start, args.slots = slots, args.has_state = has, args.state = pool.state();
  run_ok(impl_named(gdn_decode_impls(), form), args);
}

std::vector<const char*> cpu_forms() {
  std::vector<const char*> forms{"cpu"};
  if (context().cpu->avx2) forms.push_back("avx2");
  if (context().cpu->avx512) forms.push_back("avx512");
  return forms;
}

// Those that serve chunks of R rows of such heads and keep the bits of gdn_decode.
std::vector<const char*> vector_forms(const GdnShape& d, int64_t R = 64) {
  std::vector<const char*> forms;
  if (R == 64) forms = cpu_forms();
  if (!gpu_context()) return forms;
  forms.push_back("portable");
  if (d.K != 128 || d.V != 128) return forms;
  if (gpu_has(*gpu_context()->gpu, Isa::kSm90a).yes()) forms.push_back("sm90");
  if (gpu_has(*gpu_context()->gpu, Isa::kSm100a).yes()) forms.push_back("sm100");
  return forms;
}

// Rows from `first` on become NaN.
void poison(Storage& o, int64_t first) {
  const Tensor t = o.tensor().slice(0, first, o.tensor().dim(0));
  std::memset(t.data, 0xff, t.bytes());
}

void match_reference(const GdnVerifyCase& c, int64_t R, DType state, Temper temper, Random& random) {
  const GdnShape d{c.HK, c.HV, c.K, c.V};
  const GdnInputs in(c.open + c.rows, d, temper, DType::kBF16, random);
  const GdnPool start(GdnPool(1, d, random, R), state);
  GdnPool filled(start, DType::kF32), before(start);
  Storage want_o(DType::kF32, {c.open + c.rows, c.HV, c.V});
  prefill("reference", in, c.open, filled, want_o);
  copy_into(filled.k, before.k), copy_into(filled.u, before.u), copy_into(filled.g, before.g);
  GdnPool want(filled);
  verify("reference", in, c.open, c.rows, c.open, want, want_o);
  for (const char* form : vector_forms(d, R)) {
    if (state != DType::kF32 && !is_gpu(impl_named(gdn_verify_impls(), form).isa)) continue;
    GdnPool got(before);
    Storage o(DType::kF32, {c.open + c.rows, c.HV, c.V});
    copy_into(want_o, o);
    poison(o, c.open);
    verify(form, in, c.open, c.rows, c.open, got, o);
    const std::string what = std::string(form) + ", open " + std::to_string(c.open) + " of " + std::to_string(R);
    expect_close(o, want_o, kGdnF32, what + ": o");
    expect_close(closed_states(got, {0}, {c.open + c.rows}), closed_states(want, {0}, {c.open + c.rows}), kGdnF32,
                 what + ": state");
    EXPECT_EQ(got.s.bytes(), before.s.bytes()) << what << ": S must not change";
  }
}

TEST(GdnVerify, MatchesReference) {
  Random random(1);
  for (const GdnVerifyCase& c : kGdnVerifyCases)
    for (const Temper temper : {Temper::kStrong, Temper::kReflecting}) match_reference(c, 64, DType::kF32, temper, random);
}

TEST(GdnVerify, MatchesReferenceAtEveryCapacityAndInBothTypes) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows and an fp32 pool";
  Random random(5);
  for (const GdnVerifyCase& c : kGdnVerifyGpuCases)
    for (const int64_t R : {16, 32, 64})
      for (const DType state : {DType::kF32, DType::kBF16})
        if (c.open + c.rows <= R) match_reference(c, R, state, Temper::kStrong, random);
}

// Several sequences, some new in slots of NaN, one without rows, one of padding: each as it is alone.
void expect_independent_sequences(const GdnShape& d, const std::vector<int64_t>& cu, const std::vector<int64_t>& starts,
                                  const std::vector<int64_t>& slots) {
  Random random(6);
  const int64_t rows = cu.back();
  const GdnInputs in(rows, d, Temper::kMild, DType::kBF16, random);
  GdnPool before(6, d, random);
  for (const int64_t slot : {1, 3}) std::memset(before.s.tensor()[slot].data, 0xff, before.s.tensor()[slot].bytes());
  for (Storage* open : {&before.k, &before.u}) open->fill([&] { return random.normal(0, 0.1); });
  before.g.fill([] { return -0.5; });
  for (const char* form : vector_forms(d)) {
    const auto run = [&](size_t first, size_t last, GdnPool& pool, const Tensor& o) {
      std::vector<int64_t> ends;
      for (size_t b = first; b <= last; ++b) ends.push_back(cu[b] - cu[first]);
      const auto part = [&](const std::vector<int64_t>& x) { return ints({x.begin() + first, x.begin() + last}); };
      const Storage some_cu = ints(ends), some_start = part(starts), some_slots = part(slots);
      auto args = gdn_args<GdnVerifyArgs>(in.rows(cu[first], cu[last], o));
      args.cu_seqlens = some_cu, args.start = some_start, args.slots = some_slots, args.state = pool.state();
      EXPECT_EQ(check_gdn_verify(args).to_string(), "");
      run_ok(impl_named(gdn_verify_impls(), form), args);
    };
    GdnPool together(before), alone(before);
    const Storage o(DType::kBF16, {rows, d.HV, d.V}), got(DType::kBF16, {rows, d.HV, d.V});
    run(0, slots.size(), together, o);
    for (size_t b = 0; b < slots.size(); ++b) run(b, b + 1, alone, got);
    expect_same_bits(got, o, form);
    expect_same_pool(alone, together, form);
    expect_same_open_chunk(together, before, 2, 64, std::string(form) + ": a slot that was not named");
    for (int64_t i = 0; i < d.HV * d.K * d.V; ++i)
      ASSERT_EQ(together.s.tensor()[1].as<float>()[i], 0.0f) << form << ": new, without rows";
    for (const double x : o.values()) ASSERT_TRUE(std::isfinite(x)) << form;
  }
}

TEST(GdnVerify, SequencesOfABatchAreIndependent) {
  for (const GdnShape d : {GdnShape{2, 4, 64, 48}, GdnShape{1, 2, 128, 128}}) {
    expect_independent_sequences(d, {0, 3, 3, 4, 6, 12, 12}, {5, 0, 77, 9, 0, 70}, {4, 1, 0, -1, 3, 5});
    expect_independent_sequences(d, {0, 3, 3, 3}, {5, 0, 0}, {4, 1, -1});  // as many rows as sequences, of one
  }
}

void expect_same_bits_as_decode(const GdnShape& d, int64_t R, DType state) {
  constexpr int64_t kTokens = 80;
  Random random(7);
  const GdnInputs in(kTokens, d, Temper::kStrong, DType::kF32, random);
  const GdnPool before(GdnPool(1, d, random, R), state);
  for (const char* form : vector_forms(d, R)) {
    if (state != DType::kF32 && !is_gpu(impl_named(gdn_verify_impls(), form).isa)) continue;
    GdnPool want(before), pool(before);
    const Storage want_o(DType::kF32, {kTokens, d.HV, d.V}), o(DType::kF32, {kTokens, d.HV, d.V});
    for (int64_t t = 0; t < kTokens; ++t) decode(form, in, t, want, want_o);
    for (int64_t t = 0, rows = 0; t < kTokens; t += rows) {
      rows = std::min({1 + t % 9, R - t % R, kTokens - t});
      verify(form, in, t, rows, t, pool, o);
      if ((t + rows) % R == 0) close(form, pool);
    }
    expect_same_bits(o, want_o, form);
    expect_same_pool(pool, want, form);
  }
}

constexpr GdnShape kBitShapes[] = {{1, 2, 128, 64}, {1, 2, 128, 128}};

TEST(GdnVerify, SameBitsAsDecode) {
  for (const GdnShape& d : kBitShapes) expect_same_bits_as_decode(d, 64, DType::kF32);
}

TEST(GdnVerify, SameBitsAsDecodeAtEveryCapacityAndInBothTypes) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: CPU forms have chunks of 64 rows and an fp32 pool";
  for (const int64_t R : {16, 32})
    for (const DType state : {DType::kF32, DType::kBF16})
      for (const GdnShape& d : kBitShapes) expect_same_bits_as_decode(d, R, state);
}

TEST(GdnVerify, SameBitsAsPrefill) {
  constexpr int64_t kTokens = 300;
  Random random(2);
  const GdnShape d{1, 2, 128, 64};
  const GdnInputs in(kTokens, d, Temper::kStrong, DType::kF32, random);
  const GdnPool before(1, d, random);
  for (const char* form : cpu_forms()) {
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
void expect_no_trace_of_rejected_rows(const GdnShape& d) {
  constexpr int64_t kTokens = 150;
  Random random(3);
  const GdnInputs in(kTokens, d, Temper::kMild, DType::kF32, random);
  const GdnPool before(1, d, random);
  for (const char* form : vector_forms(d)) {
    GdnPool want(before), pool(before);
    const Storage want_o(DType::kF32, {kTokens, d.HV, d.V}), o(DType::kF32, {kTokens, d.HV, d.V});
    for (int64_t t = 0; t < kTokens; ++t) decode(form, in, t, want, want_o);
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

TEST(GdnVerify, RejectedRowsLeaveNoTrace) {
  for (const GdnShape d : {GdnShape{2, 2, 64, 48}, GdnShape{1, 2, 128, 128}}) expect_no_trace_of_rejected_rows(d);
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
