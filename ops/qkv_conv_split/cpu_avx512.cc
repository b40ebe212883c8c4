#include "core/simd_avx512.h"
#include "ops/qkv_conv_split/body.h"

namespace sluice {

Status qkv_conv_split_avx512(Context& ctx, const QkvConvSplitArgs& a, std::byte* scratch) {
  return qkv_conv_split_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
