#include "core/cuda/upload.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/status.h"
#include "core/cuda/upload_kernel.h"

namespace sluice::cuda {
namespace {

Status copy_from(cudaStream_t stream, const void* host, size_t bytes, void* device) {
  return to_status(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), "copy to the GPU");
}

// Null where the stream captures no graph.
Result<cudaGraph_t> graph_in_capture(cudaStream_t stream) {
  cudaStreamCaptureStatus status{};
  cudaGraph_t graph = nullptr;
  SLUICE_RETURN_IF_ERROR(to_status(cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph), "state of a graph's capture"));
  return status == cudaStreamCaptureStatusActive ? graph : nullptr;
}

// Memory that the graph owns: a replay reads it again, long after a slot of a ring would hold other things.
Result<std::byte*> memory_of_graph(cudaGraph_t graph, size_t bytes) {
  void* own = std::malloc(bytes);
  if (!own) return Status(Code::kResourceExhausted, "no memory for " + std::to_string(bytes) + " bytes of a graph");
  cudaUserObject_t owner = nullptr;
  if (const cudaError_t e = cudaUserObjectCreate(&owner, own, std::free, 1, cudaUserObjectNoDestructorSync); e != cudaSuccess) {
    std::free(own);
    return to_status(e, "memory of a graph");
  }
  if (const cudaError_t e = cudaGraphRetainUserObject(graph, owner, 1, cudaGraphUserObjectMove); e != cudaSuccess) {
    cudaUserObjectRelease(owner, 1);
    return to_status(e, "memory of a graph");
  }
  return static_cast<std::byte*>(own);
}

}  // namespace

Status upload(Context& ctx, const void* host, size_t bytes, void* device) { return Upload(ctx, bytes, device).write(host, bytes); }

Result<Upload::Way> Upload::choose_way() {
  if (left_ <= kUploadByKernel && reinterpret_cast<uintptr_t>(to_) % alignof(uint32_t) == 0) return Way::kKernel;
  SLUICE_ASSIGN_OR_RETURN(cudaGraph_t graph, graph_in_capture(stream_of(ctx_)));
  if (graph) return Way::kGraph;
  return ctx_.uploads ? Way::kRing : Way::kDirect;
}

Status Upload::take_room() {
  if (way_ == Way::kUnknown) {
    SLUICE_ASSIGN_OR_RETURN(way_, choose_way());
  }
  used_ = 0, room_size_ = left_;
  if (way_ == Way::kKernel) {
    room_ = few_.data();
  } else if (way_ == Way::kRing) {
    room_size_ = std::min(left_, UploadRing::kSlotBytes);
    SLUICE_ASSIGN_OR_RETURN(room_, ctx_.uploads->take(stream_of(ctx_), room_size_));
  } else if (way_ == Way::kGraph) {
    SLUICE_ASSIGN_OR_RETURN(cudaGraph_t graph, graph_in_capture(stream_of(ctx_)));
    SLUICE_ASSIGN_OR_RETURN(room_, memory_of_graph(graph, room_size_));
  }
  return {};
}

Status Upload::send_room() {
  SLUICE_RETURN_IF_ERROR(way_ == Way::kKernel ? upload_by_kernel(ctx_, room_, used_, to_)
                                              : copy_from(stream_of(ctx_), room_, used_, to_));
  to_ += used_, room_ = nullptr;
  return {};
}

Status Upload::write(const void* host, size_t bytes) {
  const auto* from = static_cast<const std::byte*>(host);
  for (size_t n = 0; bytes > 0; from += n, bytes -= n, left_ -= n) {
    if (!room_) SLUICE_RETURN_IF_ERROR(take_room());
    n = bytes;
    if (way_ == Way::kDirect) {  // from memory that may be paged, CUDA waits until it is read
      SLUICE_RETURN_IF_ERROR(copy_from(stream_of(ctx_), from, n, to_));
      to_ += n;
      continue;
    }
    n = std::min(bytes, room_size_ - used_);
    std::memcpy(room_ + used_, from, n);
    used_ += n;
    if (used_ == room_size_) SLUICE_RETURN_IF_ERROR(send_room());
  }
  return {};
}

Result<UploadRing> UploadRing::create() {
  UploadRing ring;
  void* memory = nullptr;
  SLUICE_RETURN_IF_ERROR(to_status(cudaMallocHost(&memory, kSlots * kSlotBytes), "page-locked memory"));
  ring.memory_ = Buffer::adopt(memory, kSlots * kSlotBytes, [](void* data, size_t) { cudaFreeHost(data); });
  for (cudaEvent_t& e : ring.passed_)
    SLUICE_RETURN_IF_ERROR(to_status(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "cudaEventCreate"));
  return ring;
}

UploadRing& UploadRing::operator=(UploadRing&& o) noexcept {
  std::swap(memory_, o.memory_), std::swap(passed_, o.passed_), std::swap(slot_, o.slot_), std::swap(used_, o.used_);
  return *this;
}

UploadRing::~UploadRing() {
  for (const cudaEvent_t e : passed_)
    if (e) cudaEventDestroy(e);
}

Status UploadRing::next_slot(cudaStream_t stream) {
  SLUICE_RETURN_IF_ERROR(to_status(cudaEventRecord(passed_[slot_], stream), "cudaEventRecord"));
  slot_ = (slot_ + 1) % kSlots, used_ = 0;
  return to_status(cudaEventSynchronize(passed_[slot_]), "copies to the GPU");  // at once where it was never recorded
}

Result<std::byte*> UploadRing::take(cudaStream_t stream, size_t bytes) {
  if (used_ + bytes > kSlotBytes) SLUICE_RETURN_IF_ERROR(next_slot(stream));
  std::byte* const room = memory_.data() + slot_ * kSlotBytes + used_;
  used_ = size_t(round_up(int64_t(used_ + bytes), kCacheLine));
  return room;
}

}  // namespace sluice::cuda
