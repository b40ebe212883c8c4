#include "core/simd_avx2.h"
#include "ops/qkv_conv_split/body.h"

namespace sluice {

Status qkv_conv_split_avx2(Context& ctx, const QkvConvSplitArgs& a, std::byte* scratch) {
  return qkv_conv_split_body<simd::Avx2>(ctx, a, scratch);
}

}  // namespace sluice
