#include "core/simd_avx512.h"
#include "ops/embed/body.h"

namespace sluice {

Status embed_avx512(Context& ctx, const EmbedArgs& a, std::byte*) { return embed_body<simd::Avx512>(ctx, a); }

}  // namespace sluice
