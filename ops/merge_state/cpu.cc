#include "ops/merge_state/body.h"

namespace sluice {

Status merge_state_cpu(Context& ctx, const MergeStateArgs& args, std::byte* scratch) {
  return merge_state_body<simd::Plain>(ctx, args, scratch);
}

}  // namespace sluice
