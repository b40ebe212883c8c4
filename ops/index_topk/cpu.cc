#include "ops/index_topk/body.h"

namespace sluice {

Status index_topk_cpu(Context& ctx, const IndexTopkArgs& args, std::byte* scratch) {
  return index_topk_body<simd::Plain>(ctx, args, scratch);
}

}  // namespace sluice
