#include <vector>

#include "ops/moe_align/forms.h"

namespace sluice {

Status moe_align_reference(Context&, const MoeAlignArgs& a, std::byte*) {
  const int64_t T = a.topk_ids.dim(0), K = a.topk_ids.dim(1), N = T * K;
  std::vector<std::vector<int32_t>> entries(size_t(a.experts));
  for (int64_t i = 0; i < N; ++i) {
    const int32_t e = a.topk_ids.as<int32_t>()[i / K * a.topk_ids.stride[0] + i % K];
    if (e >= 0 && e < a.experts) entries[size_t(e)].push_back(int32_t(i));
  }
  const int32_t* map = a.expert_map.present() ? a.expert_map.as<int32_t>() : nullptr;
  auto *sorted = a.sorted_token_ids.as<int32_t>(), *expert_ids = a.expert_ids.as<int32_t>();
  std::fill_n(sorted, a.sorted_token_ids.dim(0), int32_t(N));
  std::fill_n(expert_ids, a.expert_ids.dim(0), -1);
  int64_t end = 0;
  for (int32_t e = 0; e < a.experts; ++e) {
    std::ranges::copy(entries[size_t(e)], sorted + end);
    const int64_t blocks = ceil_div(int64_t(entries[size_t(e)].size()), a.block);
    std::fill_n(expert_ids + end / a.block, blocks, moe_align_local(map, int32_t(a.first_local), int32_t(a.local_experts), e));
    end += blocks * a.block;
  }
  a.num_tokens_post_pad.as<int32_t>()[0] = int32_t(end);
  return {};
}

}  // namespace sluice
