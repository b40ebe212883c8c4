#include "core/simd_avx2.h"
#include "ops/embed/body.h"

namespace sluice {

Status embed_avx2(Context& ctx, const EmbedArgs& a, std::byte*) { return embed_body<simd::Avx2>(ctx, a); }

}  // namespace sluice
