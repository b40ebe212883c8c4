#include "core/simd_avx2.h"
#include "ops/kv_append/body.h"

namespace sluice {

Status kv_append_avx2(Context& ctx, const KvAppendArgs& a, std::byte*) { return kv_append_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
