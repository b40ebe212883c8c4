#include "core/simd_avx2.h"
#include "ops/merge_state/body.h"

namespace sluice {

Status merge_state_avx2(Context& ctx, const MergeStateArgs& args, std::byte* scratch) {
  return merge_state_body<simd::Avx2>(ctx, args, scratch);
}

}  // namespace sluice
