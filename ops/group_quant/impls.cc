#include "base/checked.h"
#include "ops/group_quant/forms.h"
#include "ops/group_quant/group_quant.h"
#include "ops/group_quant/scale.h"

namespace sluice {
namespace {

bool packed(ScaleLayout layout) { return layout == ScaleLayout::kPackedColumnTma; }

// Elements from one column's first token to the next one's.
int64_t column_of(ScaleLayout layout, int64_t tokens) {
  constexpr int64_t kTmaTokens = 4;  // 16 bytes
  return layout == ScaleLayout::kColumnMajor ? tokens : round_up(tokens, kTmaTokens);
}

int64_t columns_of(ScaleLayout layout, const Tensor& q, int group) {
  const int64_t groups = q.shape[q.rank - 1] / group;
  return packed(layout) ? ceil_div(groups, kGroupsOfWord) : groups;
}

int64_t elements_of_expert(ScaleLayout layout, const Tensor& q, int group) {
  const int64_t tokens = q.shape[q.rank - 2], columns = columns_of(layout, q, group);
  return columns * (layout == ScaleLayout::kRowMajor ? tokens : column_of(layout, tokens));
}

}  // namespace

Tensor scale_tensor(void* data, ScaleLayout layout, const Tensor& q, int group) {
  Tensor t = q;
  const int token = q.rank - 2, column = q.rank - 1;
  t.data = data, t.dtype = packed(layout) ? DType::kI32 : DType::kF32;
  t.shape[column] = columns_of(layout, q, group);
  const bool row_major = layout == ScaleLayout::kRowMajor;
  t.stride[token] = row_major ? t.shape[column] : 1;
  t.stride[column] = row_major ? 1 : column_of(layout, q.shape[token]);
  if (q.rank == 3) t.stride[0] = elements_of_expert(layout, q, group);
  return t;
}

int64_t scale_elements(ScaleLayout layout, const Tensor& q, int group) {
  return (q.rank == 3 ? q.shape[0] : 1) * elements_of_expert(layout, q, group);
}

void check_quantised_groups(ArgCheck& c, const QuantisedGroups& out, const Tensor& like, int64_t length) {
  const int group = out.group;
  const bool known = group == 16 || group == 32 || group == 64 || group == 128, words = out.scale.dtype == DType::kI32;
  c.that(known, "a group must have 16, 32, 64 or 128 elements");
  c.that(known && length % group == 0, "a row must be a whole number of groups");
  c.that(out.eps >= 1e-20f, "eps must be at least 1e-20, so that a scale and its reciprocal are normal numbers");
  c.dtype("q", out.q, {DType::kF8E4M3, DType::kI8}).dtype("scale", out.scale, {DType::kF32, DType::kI32});
  c.that(!words || out.ue8m0, "scales of I32 hold exponents, which only ue8m0 gives");
  const int64_t groups = known ? length / group : 0, columns = words ? ceil_div(groups, kGroupsOfWord) : groups;
  const auto& s = like.shape;
  if (like.rank == 2) c.shape("q", out.q, {s[0], length}).shape("scale", out.scale, {s[0], columns});
  if (like.rank == 3) c.shape("q", out.q, {s[0], s[1], length}).shape("scale", out.scale, {s[0], s[1], columns});
  c.inner_contiguous("q", out.q);
}

Status check_group_quant(const GroupQuantArgs& args) {
  const Tensor& x = args.x;
  ArgCheck c("group_quant");
  c.rank("x", x, 2, 3).dtype("x", x, {DType::kF32, DType::kF16, DType::kBF16}).inner_contiguous("x", x);
  const int64_t width = x.rank > 0 ? x.shape[x.rank - 1] : 0;
  c.that(!args.silu_mul || width % 2 == 0, "silu_mul wants rows of a gate and as many elements behind it");
  check_quantised_groups(c, args.out, x, args.silu_mul ? width / 2 : width);
  if (args.masked_m.present()) {
    c.that(x.rank == 3, "masked_m needs x of rank 3, experts first");
    c.dtype("masked_m", args.masked_m, {DType::kI32}).shape("masked_m", args.masked_m, {x.shape[0]});
  }
  return c.status();
}

namespace {
// Kernels count chunks of 512 elements of a row, and a row's elements, in 31 bits.
Can counts_fit(const GroupQuantArgs& a) {
  constexpr int64_t kMost = int64_t(1) << 31, kChunk = 512;
  const Tensor& q = a.out.q;
  if (!q.present()) return {};
  const int64_t length = q.dim(q.rank - 1), rows = q.dim(q.rank - 2) * (q.rank == 3 ? q.dim(0) : 1);
  return length < kMost && rows * ceil_div(length, kChunk) < kMost ? Can{} : Can::no("there must be less than 2^40 elements");
}

constexpr Impl<GroupQuantArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = counts_fit, .run = SLUICE_CUDA_FORM(group_quant_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = group_quant_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = group_quant_avx2},
    {.name = "cpu", .run = group_quant_cpu},
    {.name = "reference", .run = group_quant_reference},
};
}  // namespace

std::span<const Impl<GroupQuantArgs>> group_quant_impls() { return kImpls; }
OpInfo group_quant_op_info() { return describe_op("group_quant", group_quant_impls()); }
Status group_quant(Context& ctx, const GroupQuantArgs& args) {
  return dispatch("group_quant", group_quant_impls(), check_group_quant, ctx, args);
}

}  // namespace sluice
