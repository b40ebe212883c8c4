#include "core/check.h"
#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_prefill/forms.h"
#include "ops/gdn_prefill/sm100.h"
#include "ops/gdn_prefill/sm90.h"

namespace sluice {

using gdn::Closing;

namespace {

constexpr const char* kName = "gdn_prefill";

// The rows of `checkpoints` that every sequence will write.
Status check_checkpoint_rows(const GdnPrefillArgs& a) {
  const int32_t *first = a.checkpoint_cu.as<int32_t>(), *cu = a.cu_seqlens.as<int32_t>(), *start = a.start.as<int32_t>();
  for (int64_t b = 0; b < a.slots.dim(0); ++b) {
    if (a.slots.as<int32_t>()[b] < 0) continue;
    const int64_t copies = (int64_t(start[b]) + cu[b + 1] - cu[b]) / a.checkpoint_every - start[b] / a.checkpoint_every;
    if (first[b] < 0 || first[b] + copies > first[b + 1] || first[b + 1] > a.checkpoints.dim(0))
      return invalid("gdn_prefill: sequence " + std::to_string(b) + " has " + std::to_string(copies) + " checkpoints and rows " +
                     std::to_string(first[b]) + " to " + std::to_string(first[b + 1]) + " of " +
                     std::to_string(a.checkpoints.dim(0)) + " for them");
  }
  return {};
}

Status check_checkpoints(const GdnPrefillArgs& a) {
  if (a.checkpoint_every == 0) return {};
  const auto& s = a.state.s.shape;
  ArgCheck c(kName);
  c.that(a.checkpoint_every > 0 && a.checkpoint_every % kChunk == 0, "checkpoint_every must be a multiple of 64");
  c.rank("checkpoints", a.checkpoints, 4, 4).dtype("checkpoints", a.checkpoints, {DType::kF32});
  c.shape("checkpoints", a.checkpoints, {a.checkpoints.shape[0], s[1], s[2], s[3]});
  c.that(gdn::dense_swapped_slots(a.checkpoints), "checkpoints must be dense within a row");
  c.shape("checkpoint_cu", a.checkpoint_cu, {a.slots.shape[0] + 1}).dtype("checkpoint_cu", a.checkpoint_cu, {DType::kI32});
  SLUICE_RETURN_IF_ERROR(c.status());
  return a.checkpoints.on_gpu() ? Status() : check_checkpoint_rows(a);
}

}  // namespace

Status check_gdn_prefill(const GdnPrefillArgs& a) {
  SLUICE_RETURN_IF_ERROR(gdn::check_args(kName, a, gdn::RowsPerSequence::kAny, Closing::kWhenFull));
  return check_checkpoints(a);
}

namespace {

gdn::Checkpoints checkpoints(const GdnPrefillArgs& a) { return {a.checkpoints, a.checkpoint_cu, a.checkpoint_every}; }
Can vector_form(const GdnPrefillArgs& a) { return gdn::vector_form(a.state); }
Can portable_form(const GdnPrefillArgs& a) { return gdn::cuda_form(a.state); }

Can portable_mma_form(const GdnPrefillArgs& a) {
  if (!aligned_bf16(a.q) || !aligned_bf16(a.k) || !aligned_bf16(a.v))
    return Can::no("q, k and v must be bf16 rows at multiples of 16 bytes");
  const int64_t K = a.k.dim(2), V = a.v.dim(2);
  if ((K != 64 && K != 128) || V % 64 != 0) return Can::no("K must be 64 or 128 and V a multiple of 64");
  return gdn::cuda_form(a.state);
}
size_t workspace(const Context& ctx, const GdnPrefillArgs& a) {
  return gdn::scratch_bytes(ctx.team->size(), a.k.dim(2), a.v.dim(2));
}
Status run_avx512(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  return gdn::append_avx512(ctx, a, Closing::kWhenFull, scratch, checkpoints(a));
}
Status run_avx2(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  return gdn::append_avx2(ctx, a, Closing::kWhenFull, scratch, checkpoints(a));
}
Status run_cpu(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  return gdn::append_cpu(ctx, a, Closing::kWhenFull, scratch, checkpoints(a));
}
Status run_reference(Context&, const GdnPrefillArgs& a, std::byte*) {
  return gdn::append_reference(a, Closing::kWhenFull, checkpoints(a));
}

constexpr Impl<GdnPrefillArgs> kImpls[] = {
    {.name = "sm100",
     .isa = Isa::kSm100a,
     .can = gdn_prefill_sm100_can,
     .workspace = SLUICE_SM100_FORM(gdn_prefill_sm100_workspace),
     .run = SLUICE_SM100_FORM(gdn_prefill_sm100)},
    {.name = "sm90",
     .isa = Isa::kSm90a,
     .can = gdn_prefill_sm90_can,
     .workspace = SLUICE_SM90_FORM(gdn_prefill_sm90_workspace),
     .run = SLUICE_SM90_FORM(gdn_prefill_sm90)},
    {.name = "portable_mma",
     .isa = Isa::kCuda,
     .can = portable_mma_form,
     .workspace = SLUICE_CUDA_FORM(gdn_prefill_cuda_mma_workspace),
     .run = SLUICE_CUDA_FORM(gdn_prefill_cuda_mma),
     .tiles = SLUICE_CUDA_FORM(gdn_prefill_cuda_mma_tiles)},
    {.name = "portable",
     .isa = Isa::kCuda,
     .can = portable_form,
     .run = SLUICE_CUDA_FORM(gdn_prefill_cuda),
     .tiles = SLUICE_CUDA_FORM(gdn_prefill_cuda_tiles)},
    {.name = "avx512", .isa = Isa::kAvx512, .can = vector_form, .workspace = workspace, .run = run_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .can = vector_form, .workspace = workspace, .run = run_avx2},
    {.name = "cpu", .can = vector_form, .workspace = workspace, .run = run_cpu},
    {.name = "reference", .run = run_reference},
};

}  // namespace

std::span<const Impl<GdnPrefillArgs>> gdn_prefill_impls() { return kImpls; }
OpInfo gdn_prefill_op_info() { return describe_op(kName, gdn_prefill_impls()); }
Status gdn_prefill(Context& ctx, const GdnPrefillArgs& a) {
  return dispatch(kName, gdn_prefill_impls(), check_gdn_prefill, ctx, a);
}

}  // namespace sluice
