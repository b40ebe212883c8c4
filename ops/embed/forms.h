// The implementations, one a file.
#pragma once

#include "ops/embed/embed.h"

namespace sluice {

Status embed_reference(Context&, const EmbedArgs&, std::byte*);
Status embed_cpu(Context&, const EmbedArgs&, std::byte*);
Status embed_avx2(Context&, const EmbedArgs&, std::byte*);
Status embed_avx512(Context&, const EmbedArgs&, std::byte*);
Status embed_cuda(Context&, const EmbedArgs&, std::byte*);

}  // namespace sluice
