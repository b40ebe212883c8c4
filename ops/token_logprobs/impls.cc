#include "core/check.h"
#include "ops/token_logprobs/forms.h"
#include "ops/token_logprobs/token_logprobs.h"

namespace sluice {
namespace {

// Every entry of a [R] tensor of i32 lies in [low, high], as far as it can be seen here.
Status check_range(const char* name, const Tensor& t, int64_t low, int64_t high) {
  if (t.on_gpu()) return {};
  for (int64_t r = 0; r < t.shape[0]; ++r)
    if (const int32_t v = t.as<int32_t>()[r]; v < low || v > high)
      return invalid("token_logprobs: " + std::string(name) + "[" + std::to_string(r) + "] is " + std::to_string(v) + ", wanted " +
                     std::to_string(low) + " to " + std::to_string(high));
  return {};
}

}  // namespace

Status check_token_logprobs(const TokenLogprobsArgs& a) {
  const int64_t R = a.logits.shape[0];
  ArgCheck c("token_logprobs");
  c.rank("logits", a.logits, 2, 2).dtype("logits", a.logits, {DType::kF32}).inner_contiguous("logits", a.logits);
  c.that(a.logits.shape[1] > 0, "logits has no columns");
  c.dtype("ids", a.ids, {DType::kI32}).shape("ids", a.ids, {R}).inner_contiguous("ids", a.ids);
  c.dtype("logprobs", a.logprobs, {DType::kF32}).shape("logprobs", a.logprobs, {R}).inner_contiguous("logprobs", a.logprobs);
  c.dtype("ranks", a.ranks, {DType::kI32}).shape("ranks", a.ranks, {R}).inner_contiguous("ranks", a.ranks);
  SLUICE_RETURN_IF_ERROR(c.status());
  SLUICE_RETURN_IF_ERROR(check_range("ids", a.ids, -1, a.logits.shape[1] - 1));
  if (!a.counts.present() && !a.best_ids.present() && !a.best_logprobs.present()) return {};
  const int64_t N = a.best_ids.shape[1];
  c.dtype("counts", a.counts, {DType::kI32}).shape("counts", a.counts, {R}).inner_contiguous("counts", a.counts);
  c.rank("best_ids", a.best_ids, 2, 2).dtype("best_ids", a.best_ids, {DType::kI32}).shape("best_ids", a.best_ids, {R, N});
  c.inner_contiguous("best_ids", a.best_ids).that(N <= kMostTokenLogprobs, "best_ids has more than 20 columns");
  c.dtype("best_logprobs", a.best_logprobs, {DType::kF32}).shape("best_logprobs", a.best_logprobs, {R, N});
  c.inner_contiguous("best_logprobs", a.best_logprobs);
  SLUICE_RETURN_IF_ERROR(c.status());
  return check_range("counts", a.counts, 0, N);
}

namespace {
constexpr Impl<TokenLogprobsArgs> kImpls[] = {
    {.name = "portable",
     .isa = Isa::kCuda,
     .can = SLUICE_CUDA_FORM(token_logprobs_cuda_can),
     .workspace = SLUICE_CUDA_FORM(token_logprobs_cuda_workspace),
     .run = SLUICE_CUDA_FORM(token_logprobs_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = token_logprobs_workspace, .run = token_logprobs_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = token_logprobs_workspace, .run = token_logprobs_avx2},
    {.name = "cpu", .workspace = token_logprobs_workspace, .run = token_logprobs_cpu},
    {.name = "reference", .run = token_logprobs_reference},
};
}  // namespace

std::span<const Impl<TokenLogprobsArgs>> token_logprobs_impls() { return kImpls; }
OpInfo token_logprobs_op_info() { return describe_op("token_logprobs", token_logprobs_impls()); }
Status token_logprobs(Context& ctx, const TokenLogprobsArgs& a) {
  return dispatch("token_logprobs", token_logprobs_impls(), check_token_logprobs, ctx, a);
}

}  // namespace sluice
