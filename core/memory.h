// Memory of a context's device and the ways in and out of it, so that models and the engine need not know which device it is.
// Copies go in the order of the context's stream, like the operators' work; what is wrong with the device is reported by them or by
// a later call.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/context.h"
#include "core/tensor.h"
#include "core/transfer.h"

namespace sluice {

// Zero-filled. On the CPU pages are taken when first touched, on a GPU all at once.
Result<Buffer> allocate_memory(Context& ctx, size_t bytes);
// Bytes that a GPU has left; on the CPU those that this process may still take, of the machine or of its control group.
size_t memory_left(const Context& ctx);

// `host` may be used again when it returns.
Status to_device(Context& ctx, const void* host, size_t bytes, void* device);
// The way for gigabytes: several threads read them while what was read is copied. Waits until the device has all of it, and for
// what it was given to do before.
Status to_device(Context& ctx, std::span<const Transfer> transfers, const std::function<void(size_t done)>& show = {});
// Waits for the device.
Status to_host(Context& ctx, const void* device, size_t bytes, void* host);
Status copy_memory(Context& ctx, const void* from, size_t bytes, void* to);
Status fill_memory(Context& ctx, void* to, int value, size_t bytes);

// Uniform numbers in [-scale, scale) for a dense bf16 tensor; others on another device.
Status fill_random(Context& ctx, const Tensor& to, float scale, uint64_t seed);
Status wait_for(Context& ctx);

// The elements of a contiguous tensor; waits for the device.
template <class T>
Result<std::vector<T>> host_copy(Context& ctx, const Tensor& t) {
  std::vector<T> v(size_t(t.numel()));
  SLUICE_RETURN_IF_ERROR(to_host(ctx, t.data, t.bytes(), v.data()));
  return v;
}

// An array of the host, contiguous, and the tensor that a device reads it by.
struct HostArray {
  Tensor* seen;
  Tensor host;
};
// On the CPU the tensors are the arrays themselves, which must live as long. On a GPU they are copies in the arena, all brought
// there at once; kResourceExhausted where it is full.
Status bring(Context& ctx, std::initializer_list<HostArray> arrays);

}  // namespace sluice
