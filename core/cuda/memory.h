// Memory of the current GPU.
#pragma once

#include "core/context.h"

namespace sluice::cuda {

// Uninitialised; kResourceExhausted when the GPU has too little left.
Result<Buffer> allocate(size_t bytes);
size_t memory_left();

Status copy(Stream stream, const void* from, size_t bytes, void* to);
Status fill(Stream stream, void* to, int value, size_t bytes);
// Uniform numbers in [-scale, scale).
Status fill_random(Context& ctx, Bf16* to, int64_t count, float scale, uint64_t seed);
// Waits for the stream.
Status download(Stream stream, const void* device, size_t bytes, void* host);

}  // namespace sluice::cuda
