#include "ops/gqa_prefill/lanes_avx2.h"
#include "ops/mla_decode/body.h"

namespace sluice {

Status mla_decode_avx2(Context& ctx, const MlaDecodeArgs& a, std::byte* scratch) {
  return mla_decode_body<GqaAvx2>(ctx, a, scratch);
}

}  // namespace sluice
