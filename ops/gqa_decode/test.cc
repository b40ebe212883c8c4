#include "core/rows.h"
#include "ops/gqa_decode/gqa_decode.h"
#include "ops/gqa_prefill/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// One row a sequence: the cases of gqa_prefill, their last row each.
GqaCase last_rows(GqaCase c) {
  for (int b = 0; b < c.sequences; ++b) {
    if (c.rows[b] > 0) c.prefix[b] += c.rows[b] - 1;
    c.rows[b] = 1;
  }
  return c;
}

GqaDecodeArgs decode_args(const GqaProblem::Call& call, const GqaOutputs& out) {
  auto args = with_outputs<GqaDecodeArgs>(call.args, out);
  args.cu_seqlens = {};
  return args;
}

void expect_matches_reference(const GqaCase& c, DType in, DType cache, DType o) {
  const GqaProblem problem(c, in, cache, 11);
  const auto call = problem.all();
  const GqaOutputs want(o, problem.total(), problem.heads(), c.dim);
  const auto args = decode_args(call, want);
  ASSERT_EQ(check_gqa_decode(args).to_string(), "");
  run_ok(impl_named(gqa_decode_impls(), "reference"), args);
  const Tolerance f32{5e-6, 3e-5}, limit = o == DType::kF32 ? f32 : Tolerance{8e-3, 2e-2};
  for (const auto* impl : runnable(gqa_decode_impls(), args)) {
    const GqaOutputs got(o, problem.total(), problem.heads(), c.dim);
    run_ok(*impl, decode_args(call, got));
    const std::string what = std::string(impl->name) + " group " + std::to_string(c.group) + " dim " + std::to_string(c.dim);
    expect_close(got.o, want.o, limit, what);
    expect_close(got.lse, want.lse, f32, what + " lse");
  }
}

TEST(GqaDecode, MatchesReference) {
  for (const GqaCase& c : kGqaCases) {
    expect_matches_reference(last_rows(c), DType::kF32, DType::kF32, DType::kF32);
    expect_matches_reference(last_rows(c), DType::kF32, DType::kBF16, DType::kF32);
    expect_matches_reference(last_rows(c), DType::kBF16, DType::kBF16, DType::kBF16);
  }
  for (const GqaCase& c : kGqaTileCases) expect_matches_reference(last_rows(c), DType::kBF16, DType::kBF16, DType::kBF16);
  for (const GqaCase& c : kGqaLongCases) {
    expect_matches_reference(last_rows(c), DType::kF32, DType::kF32, DType::kF32);
    expect_matches_reference(last_rows(c), DType::kF32, DType::kBF16, DType::kF32);
  }
}

// Every row of a prefill alone, by decode, with 1 to 3 threads.
void expect_rows_alone_same(const Impl<GqaDecodeArgs>& impl, const GqaCase& c, const GqaArgs& all, const GqaOutputs& whole) {
  const int32_t* cu = all.cu_seqlens.as<int32_t>();
  const int64_t heads = c.kv_heads * c.group;
  for (int64_t b = 0; b < c.sequences; ++b)
    for (int64_t row = cu[b]; row < cu[b + 1]; ++row) {
      const GqaOutputs got(whole.o.tensor().dtype, 1, heads, c.dim);
      const Storage length = ints({c.prefix[b] + row - cu[b] + 1});
      auto args = with_outputs<GqaDecodeArgs>(all, got);
      args.q = all.q.slice(0, row, row + 1), args.gate = all.gate.slice(0, row, row + 1);
      args.block_table = all.block_table.slice(0, b, b + 1), args.seq_lens = length, args.cu_seqlens = {};
      run_ok(impl, args, 1 + int(row % 3));
      const Tensor o = got.o.tensor(), lse = got.lse.tensor(), want = whole.o.tensor()[row], want_lse = whole.lse.tensor()[row];
      ASSERT_EQ(std::memcmp(o.data, want.data, want.bytes()), 0) << impl.name << " sequence " << b << " row " << row;
      ASSERT_EQ(std::memcmp(lse.data, want_lse.data, want_lse.bytes()), 0) << impl.name << " sequence " << b << " row " << row;
    }
}

void expect_same_bits_as_prefill(const GqaCase& c, DType in, DType o) {
  const GqaProblem problem(c, in, in, 12);
  const auto call = problem.all();
  const GqaOutputs whole(o, problem.total(), problem.heads(), c.dim);
  const auto args = with_outputs<GqaPrefillArgs>(call.args, whole);
  for (const auto* impl : runnable(gqa_prefill_impls(), args)) {
    const std::string name = impl->name;
    if (name == "reference" || name == "sm90") continue;  // the latter is for several rows
    run_ok(*impl, args);
    expect_rows_alone_same(impl_named(gqa_decode_impls(), impl->name), c, call.args, whole);
  }
}

// Contexts of one span and of several; heads and types that tensor cores take, alone with stretches in blocks of their own.
TEST(GqaDecode, SameBitsAsPrefill) {
  for (const GqaCase& c : {kGqaCases[3], kGqaCases[7], kGqaLongCases[0], kGqaLongCases[1]})
    for (const DType dtype : {DType::kF32, DType::kBF16}) expect_same_bits_as_prefill(c, dtype, DType::kF32);
  if (!gpu_context()) return;
  for (const GqaCase& c : {kGqaCases[3], kGqaTileCases[0], kGqaTileCases[3]})
    expect_same_bits_as_prefill(c, DType::kBF16, DType::kBF16);
}

TEST(GqaDecode, PrefersTheFormsThatPrefillDoes) {
  ASSERT_EQ(gqa_decode_impls().size(), gqa_prefill_impls().size());
  for (size_t i = 0; i < gqa_decode_impls().size(); ++i) {
    EXPECT_STREQ(gqa_decode_impls()[i].name, gqa_prefill_impls()[i].name);
    EXPECT_EQ(gqa_decode_impls()[i].isa, gqa_prefill_impls()[i].isa);
  }
}

TEST(GqaDecode, PaddingRowsAreZero) {
  const GqaProblem problem({2, 4, 64, 16, 3, {1100, 5, 70}, {1, 1, 1}}, DType::kF32, DType::kBF16, 2);
  const auto call = problem.all();
  const Storage lengths = ints({1101, 0, 71});
  for (const auto* form : runnable(gqa_decode_impls(), decode_args(call, GqaOutputs(DType::kF32, 3, 8, 64)))) {
    const auto& impl = *form;
    const GqaOutputs all(DType::kF32, 3, 8, 64), got(DType::kF32, 3, 8, 64);
    auto args = decode_args(call, got);
    run_ok(impl, decode_args(call, all));
    args.seq_lens = lengths;
    ASSERT_TRUE(check_gqa_decode(args).ok());
    run_ok(impl, args);
    const auto o = got.o.values(), lse = got.lse.values(), o_all = all.o.values();
    for (int64_t i = 0; i < 3 * 8 * 64; ++i) EXPECT_EQ(o[i], i / (8 * 64) == 1 ? 0 : o_all[i]) << impl.name;
    for (int64_t i = 8; i < 16; ++i) EXPECT_EQ(lse[i], -INFINITY) << impl.name;
  }
}

TEST(GqaDecode, RefusesBadArguments) {
  const GqaProblem problem({2, 2, 16, 4, 2, {3, 9}, {1, 1}}, DType::kF32, DType::kF32, 1);
  const auto call = problem.all();
  const GqaOutputs out(DType::kF32, 2, 4, 16);
  auto args = decode_args(call, out);
  EXPECT_EQ(check_gqa_decode(args).message(), "");
  args.cu_seqlens = call.args.cu_seqlens;
  EXPECT_EQ(check_gqa_decode(args).message(), "gqa_decode: cu_seqlens is given, wanted none: one row a sequence");
  args = decode_args(call, out);
  args.seq_lens = args.seq_lens.slice(0, 0, 1), args.block_table = args.block_table.slice(0, 0, 1);
  EXPECT_EQ(check_gqa_decode(args).message(), "gqa_decode: q has shape [2, 4, 16], wanted [1, 4, 16]");
}

}  // namespace
}  // namespace sluice
