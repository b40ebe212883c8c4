// The implementations, one a file. There is no vector form: memcpy already picks its instructions at run time.
#pragma once

#include "ops/qkv_split/qkv_split.h"

namespace sluice {

Status qkv_split_reference(Context&, const QkvSplitArgs&, std::byte*);
Status qkv_split_cpu(Context&, const QkvSplitArgs&, std::byte*);
Status qkv_split_cuda(Context&, const QkvSplitArgs&, std::byte*);

}  // namespace sluice
