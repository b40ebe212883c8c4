#include "core/simd_avx512.h"
#include "ops/kv_append/body.h"

namespace sluice {

Status kv_append_avx512(Context& ctx, const KvAppendArgs& a, std::byte*) { return kv_append_body<simd::Avx512>(ctx, a); }

}  // namespace sluice
