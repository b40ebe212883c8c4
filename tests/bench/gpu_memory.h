// Where a bench's inputs live on a GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "core/cuda/memory.h"
#include "core/cuda/status.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {

inline constexpr size_t kWorkspace = size_t(4) << 30;  // bytes

class GpuMemory : public Memory {
 public:
  GpuMemory(Device device, std::shared_ptr<Patterns> patterns) : Memory(std::move(patterns)), device_(device) {}
  Device device() const override { return device_; }
  std::byte* allocate(size_t size) override {
    auto b = cuda::allocate(std::max<size_t>(size, 1));
    if (!b.ok()) return status = b.status(), nullptr;
    bytes += size;
    return buffers_.emplace_back(std::move(b).value()).data();
  }
  std::span<const Buffer> buffers() const { return buffers_; }
  void repeat(std::byte* at, size_t size, std::span<const std::byte> pattern) override {
    size_t done = std::min(size, pattern.size());
    keep(cudaMemcpy(at, pattern.data(), done, cudaMemcpyHostToDevice));
    for (size_t n = 0; done < size; done += n) {  // doubles what is there, whole patterns
      n = std::min(done, size - done);
      keep(cudaMemcpy(at + done, at, n, cudaMemcpyDeviceToDevice));
    }
  }

 private:
  void keep(cudaError_t e) {
    if (status.ok()) status = cuda::to_status(e, "copy of inputs to the GPU");
  }
  Device device_;
  std::vector<Buffer> buffers_;
};

}  // namespace sluice::benching
