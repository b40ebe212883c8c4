// The implementations, one a file.
#pragma once

#include "ops/copy_rows/copy_rows.h"

namespace sluice {

Status copy_rows_reference(Context&, const CopyRowsArgs&, std::byte*);
Status copy_rows_cuda(Context&, const CopyRowsArgs&, std::byte*);

}  // namespace sluice
