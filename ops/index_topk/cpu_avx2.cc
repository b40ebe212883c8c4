#include "core/simd_avx2.h"
#include "ops/index_topk/body.h"

namespace sluice {

Status index_topk_avx2(Context& ctx, const IndexTopkArgs& args, std::byte* scratch) {
  return index_topk_body<simd::Avx2>(ctx, args, scratch);
}

}  // namespace sluice
