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

// The same of bytes that lie in many places and come to lie behind each other.
class Upload {
 public:
  Upload(Context& ctx, size_t bytes, void* device) : ctx_(ctx), left_(bytes), to_(static_cast<std::byte*>(device)) {}

  // All calls together write `bytes`. The last one sends what is not on its way yet.
  Status write(const void* host, size_t bytes);

 private:
  enum class Way : unsigned char { kUnknown, kKernel, kRing, kGraph, kDirect };
  Result<Way> choose_way();
  Status take_room();
  Status send_room();

  Context& ctx_;
  size_t left_;    // bytes that are still to be written
  std::byte* to_;  // where the next room's contents go
  Way way_ = Way::kUnknown;
  std::byte* room_ = nullptr;  // memory that is filled before it is sent
  size_t room_size_ = 0, used_ = 0;
  std::array<std::byte, kUploadByKernel> few_;
};

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

  // Memory that the next copy on the stream may read from; at most kSlotBytes.
  Result<std::byte*> take(cudaStream_t stream, size_t bytes);

 private:
  UploadRing() = default;
  Status next_slot(cudaStream_t stream);

  Buffer memory_;
  std::array<cudaEvent_t, kSlots> passed_{};  // recorded behind a slot's copies when the next slot is taken
  int slot_ = 0;
  size_t used_ = 0;  // bytes of the slot
};

}  // namespace sluice::cuda
