// Memory of the current GPU.
#pragma once

#include "core/buffer.h"

namespace sluice::cuda {

// Uninitialised; kResourceExhausted when the GPU has too little left.
Result<Buffer> allocate(size_t bytes);

}  // namespace sluice::cuda
