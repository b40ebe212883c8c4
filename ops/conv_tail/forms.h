// The implementations, one a file.
#pragma once

#include "ops/conv_tail/conv_tail.h"

namespace sluice {

Status conv_tail_reference(Context&, const ConvTailArgs&, std::byte*);
Status conv_tail_cuda(Context&, const ConvTailArgs&, std::byte*);

}  // namespace sluice
