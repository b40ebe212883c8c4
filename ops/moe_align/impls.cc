#include <limits>

#include "core/check.h"
#include "ops/moe_align/forms.h"
#include "ops/moe_align/moe_align.h"

namespace sluice {
namespace {

void check_room(ArgCheck& c, const char* name, const Tensor& t, int64_t least) {
  c.rank(name, t, 1, 1).dtype(name, t, {DType::kI32}).inner_contiguous(name, t);
  if (!c.status().ok() || t.shape[0] >= least) return;
  const std::string what =
      std::string(name) + " has room for " + std::to_string(t.shape[0]) + ", wanted " + std::to_string(least) + " or more";
  c.that(false, what.c_str());
}

}  // namespace

Status check_moe_align(const MoeAlignArgs& a) {
  const auto ids = {DType::kI32};
  ArgCheck c("moe_align");
  c.rank("topk_ids", a.topk_ids, 2, 2).dtype("topk_ids", a.topk_ids, ids).inner_contiguous("topk_ids", a.topk_ids);
  c.that(a.experts >= 1 && a.experts <= MoeAlignArgs::kMostExperts, "experts must be 1 to 2048");
  c.that(a.block == 16 || a.block == 32 || a.block == 64 || a.block == 128, "block must be 16, 32, 64 or 128");
  if (a.expert_map.present())
    c.dtype("expert_map", a.expert_map, ids)
        .shape("expert_map", a.expert_map, {a.experts})
        .inner_contiguous("expert_map", a.expert_map)
        .that(a.first_local == 0 && a.local_experts < 0, "expert_map and a range of local experts are both given, wanted one");
  c.that(a.first_local >= 0 && a.first_local <= a.experts && a.local_experts <= a.experts, "local experts are not among all");
  const int64_t N = a.topk_ids.shape[0] * a.topk_ids.shape[1];
  check_room(c, "sorted_token_ids", a.sorted_token_ids, moe_align_capacity(N, a.experts, a.block));
  check_room(c, "expert_ids", a.expert_ids, moe_align_blocks(N, a.experts, a.block));
  c.that(std::max(a.sorted_token_ids.shape[0], a.expert_ids.shape[0]) <= std::numeric_limits<int32_t>::max(),
         "sorted_token_ids or expert_ids has more entries than 32 bits number");
  c.dtype("num_tokens_post_pad", a.num_tokens_post_pad, ids).shape("num_tokens_post_pad", a.num_tokens_post_pad, {1});
  return c.status();
}

size_t moe_align_cuda_workspace(const Context&, const MoeAlignArgs& a) {
  return size_t(MoeAlignTiles(a.topk_ids.numel(), a.experts).count * a.experts) * sizeof(int32_t);
}

namespace {
constexpr Impl<MoeAlignArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .workspace = moe_align_cuda_workspace, .run = SLUICE_CUDA_FORM(moe_align_cuda)},
    {.name = "cpu", .workspace = moe_align_cpu_workspace, .run = moe_align_cpu},
    {.name = "reference", .run = moe_align_reference},
};
}  // namespace

std::span<const Impl<MoeAlignArgs>> moe_align_impls() { return kImpls; }
OpInfo moe_align_op_info() { return describe_op("moe_align", moe_align_impls()); }
Status moe_align(Context& ctx, const MoeAlignArgs& a) { return dispatch("moe_align", moe_align_impls(), check_moe_align, ctx, a); }

}  // namespace sluice
