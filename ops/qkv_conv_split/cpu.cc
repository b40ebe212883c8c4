#include "ops/qkv_conv_split/body.h"

namespace sluice {

Status qkv_conv_split_cpu(Context& ctx, const QkvConvSplitArgs& a, std::byte* scratch) {
  return qkv_conv_split_body<simd::Plain>(ctx, a, scratch);
}

}  // namespace sluice
