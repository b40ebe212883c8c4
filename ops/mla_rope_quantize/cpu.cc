#include "ops/mla_rope_quantize/body.h"

namespace sluice {

Status mla_rope_quantize_cpu(Context& ctx, const MlaRopeQuantizeArgs& args, std::byte* scratch) {
  return mla_rope_quantize_body<simd::Plain>(ctx, args, scratch);
}

}  // namespace sluice
