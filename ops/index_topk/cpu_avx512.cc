#include "core/simd_avx512.h"
#include "ops/index_topk/body.h"

namespace sluice {

Status index_topk_avx512(Context& ctx, const IndexTopkArgs& args, std::byte* scratch) {
  return index_topk_body<simd::Avx512>(ctx, args, scratch);
}

}  // namespace sluice
