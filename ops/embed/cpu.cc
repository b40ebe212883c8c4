#include "ops/embed/body.h"

namespace sluice {

Status embed_cpu(Context& ctx, const EmbedArgs& a, std::byte*) { return embed_body<simd::Plain>(ctx, a); }

}  // namespace sluice
