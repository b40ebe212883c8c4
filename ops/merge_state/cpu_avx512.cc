#include "core/simd_avx512.h"
#include "ops/merge_state/body.h"

namespace sluice {

Status merge_state_avx512(Context& ctx, const MergeStateArgs& args, std::byte* scratch) {
  return merge_state_body<simd::Avx512>(ctx, args, scratch);
}

}  // namespace sluice
