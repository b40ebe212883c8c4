#include "core/simd_avx512.h"
#include "ops/indexer_prepare/body.h"

namespace sluice {

Status indexer_prepare_avx512(Context& ctx, const IndexerPrepareArgs& a, std::byte* scratch) {
  return indexer_prepare_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
