// The part of upload() that nvcc compiles.
#pragma once

#include "core/context.h"

namespace sluice::cuda {

// At most kUploadByKernel bytes, to an address that is a multiple of 4.
Status upload_by_kernel(const Context& ctx, const void* host, size_t bytes, void* device);

}  // namespace sluice::cuda
