// Small data of a step on its way to the GPU: tables, parameters, lists.
#pragma once

#include <cuda_runtime_api.h>

#include <array>

#include "core/context.h"

namespace sluice::cuda {

// Brings bytes to the GPU in order of the context's stream. They have been taken from `host` when it returns, and the caller does
// not wait for the GPU but where it is megabytes behind. A few travel as the arguments of a kernel, more through the context's
// ring. In a graph's capture they become part of the graph: each replay writes them again.
Status upload(Context& ctx, const void* host, size_t bytes, void* device);

inline constexpr size_t kUploadByKernel = 3840;  // bytes at most: a kernel's arguments have 4096 everywhere

// Page-locked memory that copies to the GPU read from, in slots. One is used again when what was copied from it before has arrived.
// Belongs to one runtime, its stream and one thread.
class UploadRing {
 public:
  static constexpr int kSlots = 4;
  static constexpr size_t kSlotBytes = size_t(1) << 20;

  static Result<UploadRing> create();
  UploadRing(UploadRing&& o) noexcept { *this = std::move(o); }
  UploadRing& operator=(UploadRing&& o) noexcept;
  ~UploadRing();  // nothing may be under way any more

  Status copy(cudaStream_t stream, const std::byte* host, size_t bytes, std::byte* device);

 private:
  UploadRing() = default;
  Status next_slot(cudaStream_t stream);

  Buffer memory_;
  std::array<cudaEvent_t, kSlots> passed_{};  // recorded behind a slot's copies when the next slot is taken
  int slot_ = 0;
  size_t used_ = 0;  // bytes of the slot
};

}  // namespace sluice::cuda
