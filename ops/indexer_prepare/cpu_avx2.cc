#include "core/simd_avx2.h"
#include "ops/indexer_prepare/body.h"

namespace sluice {

Status indexer_prepare_avx2(Context& ctx, const IndexerPrepareArgs& a, std::byte* scratch) {
  return indexer_prepare_body<simd::Avx2>(ctx, a, scratch);
}

}  // namespace sluice
