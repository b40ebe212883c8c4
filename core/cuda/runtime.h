// Owns what a Context on a GPU points to: stream, workspace, facts of the device.
#pragma once

#include <memory>

#include "core/context.h"
#if SLUICE_HAS_CUBLASLT
#include "core/cuda/cublaslt.h"
#endif
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
  // Gives the workspace back and takes another; what lies in it is lost.
  Status set_workspace(size_t bytes);
  // CUDA keeps a current device for each thread.
  Status enter_thread();
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
#if SLUICE_HAS_CUBLASLT
  cuda::LtPlans lt_plans_;
#endif
};

}  // namespace sluice
