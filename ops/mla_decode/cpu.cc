#include "ops/mla_decode/body.h"

namespace sluice {

Status mla_decode_cpu(Context& ctx, const MlaDecodeArgs& a, std::byte* scratch) {
  return mla_decode_body<GqaPlain>(ctx, a, scratch);
}

}  // namespace sluice
