// The implementations, one a file.
#pragma once

#include "ops/gdn_close/gdn_close.h"

namespace sluice {

Status gdn_close_reference(Context&, const GdnCloseArgs&, std::byte*);
Status gdn_close_cpu(Context&, const GdnCloseArgs&, std::byte*);
Status gdn_close_avx2(Context&, const GdnCloseArgs&, std::byte*);
Status gdn_close_avx512(Context&, const GdnCloseArgs&, std::byte*);
Status gdn_close_cuda(Context&, const GdnCloseArgs&, std::byte*);
Status gdn_close_tma(Context&, const GdnCloseArgs&, std::byte*);

}  // namespace sluice
