#include "ops/index_logits/body.h"

namespace sluice {

Status index_logits_cpu(Context& ctx, const IndexLogitsArgs& args, std::byte* scratch) {
  return index_logits_body<simd::Plain>(ctx, args, scratch);
}

}  // namespace sluice
