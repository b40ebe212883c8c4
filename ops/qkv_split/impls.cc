#include "core/check.h"
#include "ops/qkv_split/forms.h"
#include "ops/qkv_split/qkv_split.h"

namespace sluice {
namespace {

void check_gate_inputs(ArgCheck& c, const QkvSplitArgs& s, int64_t T, int64_t HV) {
  c.that(s.b.present() == s.a.present(), "only one of b and a is given, wanted both or none");
  if (!s.b.present() || !s.a.present()) return;
  c.dtype("b", s.b, {s.mixed.dtype}).shape("b", s.b, {T, HV}).inner_contiguous("b", s.b);
  c.dtype("a", s.a, {s.mixed.dtype}).shape("a", s.a, {T, HV}).inner_contiguous("a", s.a);
  if (s.layout == QkvLayout::kConcatenated) return;
  c.dtype("ba", s.ba, {s.mixed.dtype}).shape("ba", s.ba, {T, 2 * HV}).inner_contiguous("ba", s.ba);
}

}  // namespace

Status check_qkv_split(const QkvSplitArgs& s) {
  ArgCheck c("qkv_split");
  c.rank("mixed", s.mixed, 2, 2).dtype("mixed", s.mixed, {DType::kF32, DType::kBF16, DType::kF16});
  c.rank("q", s.q, 3, 3).rank("v", s.v, 3, 3);
  const DType type = s.mixed.dtype;
  const int64_t T = s.mixed.shape[0], HK = s.q.shape[1], K = s.q.shape[2], HV = s.v.shape[1], V = s.v.shape[2];
  c.dtype("q", s.q, {type}).shape("q", s.q, {T, HK, K}).inner_contiguous("q", s.q);
  c.dtype("k", s.k, {type}).shape("k", s.k, {T, HK, K}).inner_contiguous("k", s.k);
  c.dtype("v", s.v, {type}).shape("v", s.v, {T, HV, V}).inner_contiguous("v", s.v);
  if (s.z.present()) c.dtype("z", s.z, {type}).shape("z", s.z, {T, HV, V}).inner_contiguous("z", s.z);
  check_gate_inputs(c, s, T, HV);

  int64_t columns = 2 * HK * K + HV * V;
  if (s.layout == QkvLayout::kPerKeyHead) {
    c.that(HK > 0 && HV % HK == 0, "the value heads are not a multiple of the key heads, which the layout per key head needs");
    columns += HV * V;
  } else if (s.b.present()) {
    columns += HV * V + 2 * HV;
  } else if (s.z.present()) {
    columns += HV * V;
  }
  if (c.status().ok() && s.mixed.shape[1] < columns) {
    const std::string what =
        "a row of mixed has " + std::to_string(s.mixed.shape[1]) + " columns, wanted " + std::to_string(columns);
    c.that(false, what.c_str());
  }
  return c.status();
}

namespace {
constexpr Impl<QkvSplitArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(qkv_split_cuda)},
    {.name = "cpu", .run = qkv_split_cpu},
    {.name = "reference", .run = qkv_split_reference},
};
}  // namespace

std::span<const Impl<QkvSplitArgs>> qkv_split_impls() { return kImpls; }
OpInfo qkv_split_op_info() { return describe_op("qkv_split", qkv_split_impls()); }
Status qkv_split(Context& ctx, const QkvSplitArgs& s) { return dispatch("qkv_split", qkv_split_impls(), check_qkv_split, ctx, s); }

}  // namespace sluice
