#include "core/cuda/upload.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/checked.h"
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

// A copy from memory that the graph owns: a replay reads it again, long after a slot of a ring would hold other things.
Status copy_in_graph(cudaGraph_t graph, cudaStream_t stream, const void* host, size_t bytes, void* device) {
  void* own = std::malloc(bytes);
  if (!own) return {Code::kResourceExhausted, "no memory for " + std::to_string(bytes) + " bytes of a graph"};
  std::memcpy(own, host, bytes);
  cudaUserObject_t owner = nullptr;
  if (const cudaError_t e = cudaUserObjectCreate(&owner, own, std::free, 1, cudaUserObjectNoDestructorSync); e != cudaSuccess) {
    std::free(own);
    return to_status(e, "memory of a graph");
  }
  if (const cudaError_t e = cudaGraphRetainUserObject(graph, owner, 1, cudaGraphUserObjectMove); e != cudaSuccess) {
    cudaUserObjectRelease(owner, 1);
    return to_status(e, "memory of a graph");
  }
  return copy_from(stream, own, bytes, device);
}

}  // namespace

Status upload(Context& ctx, const void* host, size_t bytes, void* device) {
  if (bytes == 0) return {};
  if (bytes <= kUploadByKernel && reinterpret_cast<uintptr_t>(device) % alignof(uint32_t) == 0)
    return upload_by_kernel(ctx, host, bytes, device);
  const auto stream = static_cast<cudaStream_t>(ctx.stream.handle);
  SLUICE_ASSIGN_OR_RETURN(cudaGraph_t graph, graph_in_capture(stream));
  if (graph) return copy_in_graph(graph, stream, host, bytes, device);
  if (!ctx.uploads) return copy_from(stream, host, bytes, device);  // from memory that may be paged, CUDA waits until it is read
  return ctx.uploads->copy(stream, static_cast<const std::byte*>(host), bytes, static_cast<std::byte*>(device));
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

Status UploadRing::copy(cudaStream_t stream, const std::byte* host, size_t bytes, std::byte* device) {
  for (size_t done = 0, n = 0; done < bytes; done += n) {
    n = std::min(bytes - done, kSlotBytes);
    if (used_ + n > kSlotBytes) SLUICE_RETURN_IF_ERROR(next_slot(stream));
    std::byte* from = memory_.data() + slot_ * kSlotBytes + used_;
    std::memcpy(from, host + done, n);
    SLUICE_RETURN_IF_ERROR(copy_from(stream, from, n, device + done));
    used_ = size_t(round_up(int64_t(used_ + n), kCacheLine));
  }
  return {};
}

}  // namespace sluice::cuda
