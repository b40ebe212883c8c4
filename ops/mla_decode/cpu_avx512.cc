#include "ops/gqa_prefill/lanes_avx512.h"
#include "ops/mla_decode/body.h"

namespace sluice {

Status mla_decode_avx512(Context& ctx, const MlaDecodeArgs& a, std::byte* scratch) {
  return mla_decode_body<GqaAvx512>(ctx, a, scratch);
}

}  // namespace sluice
