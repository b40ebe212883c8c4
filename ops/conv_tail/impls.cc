#include "core/check.h"
#include "ops/conv_tail/forms.h"

namespace sluice {

Status check_conv_tail(const ConvTailArgs& a) {
  ArgCheck c("conv_tail");
  c.rank("tail", a.tail, 3, 3).dtype("tail", a.tail, {DType::kF32}).inner_contiguous("tail", a.tail);
  c.rank("conv_ring", a.conv_ring, 3, 3).dtype("conv_ring", a.conv_ring, {DType::kF32}).inner_contiguous("conv_ring", a.conv_ring);
  c.rank("qkv", a.qkv, 2, 2).dtype("qkv", a.qkv, {DType::kF32, DType::kBF16}).inner_contiguous("qkv", a.qkv);
  c.rank("start", a.start, 1, 1).dtype("start", a.start, {DType::kI32}).inner_contiguous("start", a.start);
  SLUICE_RETURN_IF_ERROR(c.status());
  const int64_t S = a.tail.dim(0), kept = a.tail.dim(1), C = a.tail.dim(2), R = a.conv_ring.dim(1), B = a.start.dim(0);
  c.shape("conv_ring", a.conv_ring, {S, R, C}).shape("qkv", a.qkv, {a.qkv.dim(0), C});
  c.shape("slots", a.slots, {B}).dtype("slots", a.slots, {DType::kI32}).inner_contiguous("slots", a.slots);
  c.shape("cu_seqlens", a.cu_seqlens, {B + 1}).dtype("cu_seqlens", a.cu_seqlens, {DType::kI32});
  c.that((R & (R - 1)) == 0 && R > kept && kept <= 64, "conv_ring has too few rows, wanted a power of two above those of tail");
  SLUICE_RETURN_IF_ERROR(c.status());
  if (a.slots.on_gpu()) return {};
  const int32_t *cu = a.cu_seqlens.as<int32_t>(), *start = a.start.as<int32_t>(), *slot = a.slots.as<int32_t>();
  c.that(cu[0] == 0 && cu[B] == a.qkv.dim(0), "cu_seqlens must go from 0 to the rows of qkv");
  for (int64_t b = 0; b < B; ++b) {
    c.that(cu[b] <= cu[b + 1] && start[b] >= 0, "cu_seqlens must not descend, and start must not be below 0");
    c.that(slot[b] < S, "slots names a slot outside the pool");
  }
  return c.status();
}

namespace {
constexpr Impl<ConvTailArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(conv_tail_cuda)},
    {.name = "reference", .run = conv_tail_reference},  // copies: nothing to gain
};
}  // namespace

std::span<const Impl<ConvTailArgs>> conv_tail_impls() { return kImpls; }
OpInfo conv_tail_op_info() { return describe_op("conv_tail", conv_tail_impls()); }
Status conv_tail(Context& ctx, const ConvTailArgs& a) { return dispatch("conv_tail", conv_tail_impls(), check_conv_tail, ctx, a); }

}  // namespace sluice
