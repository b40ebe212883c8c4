#include "ops/indexer_prepare/body.h"

namespace sluice {

Status indexer_prepare_cpu(Context& ctx, const IndexerPrepareArgs& a, std::byte* scratch) {
  return indexer_prepare_body<simd::Plain>(ctx, a, scratch);
}

}  // namespace sluice
