// Owns what a Context on a GPU points to: stream, workspace, facts of the device.
#pragma once

#include <memory>

#include "core/context.h"
#include "core/cuda/kernel_table.h"
#include "core/cuda/upload.h"

namespace sluice {

class CudaRuntime {
 public:
  static constexpr size_t kDefaultWorkspace = size_t(1) << 30;  // bytes

  // Loads all kernels at once, so that the first call of each is as fast as the next ones.
  static Result<std::unique_ptr<CudaRuntime>> create(int index, size_t workspace = kDefaultWorkspace, ImplChoices forced = {});
  ~CudaRuntime();

  Context context();
  const Gpu& gpu() const { return gpu_; }
  // Waits for all work given to the stream, and reports what went wrong in it.
  Status synchronize();

 private:
  CudaRuntime(int index, Gpu gpu, void* stream, Arena arena, cuda::UploadRing uploads, ImplChoices forced);
  int index_;
  Gpu gpu_;
  CpuFeatures cpu_;
  void* stream_;  // cudaStream_t
  Arena arena_;
  ImplChoices forced_;
  cuda::KernelTable kernels_;
  cuda::UploadRing uploads_;
};

}  // namespace sluice
