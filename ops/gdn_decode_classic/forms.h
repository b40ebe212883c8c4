// The implementations, one a file.
#pragma once

#include "ops/gdn_decode_classic/gdn_decode_classic.h"

namespace sluice {

Status gdn_decode_classic_reference(Context&, const GdnDecodeClassicArgs&, std::byte*);
Status gdn_decode_classic_cpu(Context&, const GdnDecodeClassicArgs&, std::byte*);
Status gdn_decode_classic_avx2(Context&, const GdnDecodeClassicArgs&, std::byte*);
Status gdn_decode_classic_avx512(Context&, const GdnDecodeClassicArgs&, std::byte*);
Status gdn_decode_classic_cuda(Context&, const GdnDecodeClassicArgs&, std::byte*);
Status gdn_decode_classic_tma(Context&, const GdnDecodeClassicArgs&, std::byte*);

}  // namespace sluice
