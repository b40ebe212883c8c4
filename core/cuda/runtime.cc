#include "core/cuda/runtime.h"

#include <algorithm>
#include <cstdlib>

#include "core/cuda/memory.h"
#include "core/cuda/status.h"

namespace sluice {

using cuda::to_status;

Result<std::unique_ptr<CudaRuntime>> CudaRuntime::create(int index, size_t workspace, ImplChoices forced) {
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);  // read by CUDA when it starts; the default loads a kernel at its first launch
  GpuList found = detect_gpus();
  if (index < 0 || index >= int(found.gpus.size()))
    return Status(Code::kUnsupported,
                  "there is no GPU cuda:" + std::to_string(index) + " (" +
                      (found.gpus.empty() ? found.why_none : std::to_string(found.gpus.size()) + " found") + ")",
                  "use --device cpu, or look at `sluice doctor`");
  SLUICE_RETURN_IF_ERROR(to_status(cudaSetDevice(index), "cudaSetDevice"));
  if (workspace == 0) workspace = kDefaultWorkspace;
  SLUICE_ASSIGN_OR_RETURN(Buffer memory, cuda::allocate(workspace));
  SLUICE_ASSIGN_OR_RETURN(cuda::UploadRing uploads, cuda::UploadRing::create());
  cudaStream_t stream = nullptr;
  SLUICE_RETURN_IF_ERROR(to_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate"));
  return std::unique_ptr<CudaRuntime>(new CudaRuntime(index, std::move(found.gpus[index]), stream,
                                                      Arena::over(std::move(memory), {DeviceKind::kCuda, index}),
                                                      std::move(uploads), std::move(forced)));
}

CudaRuntime::CudaRuntime(int index, Gpu gpu, void* stream, Arena arena, cuda::UploadRing uploads, ImplChoices forced)
    : index_(index),
      gpu_(std::move(gpu)),
      cpu_(detect_cpu_features()),
      stream_(stream),
      arena_(std::move(arena)),
      forced_(std::move(forced)),
      uploads_(std::move(uploads)) {}

CudaRuntime::~CudaRuntime() {
  cudaStreamSynchronize(static_cast<cudaStream_t>(stream_));  // copies from the ring
  cudaStreamDestroy(static_cast<cudaStream_t>(stream_));
}

Context CudaRuntime::context() {
  cuda::LtPlans* lt_plans = nullptr;
#if SLUICE_HAS_CUBLASLT
  lt_plans = &lt_plans_;
#endif
  return {.device = {DeviceKind::kCuda, index_},
          .stream = {stream_},
          .arena = &arena_,
          .cpu = &cpu_,
          .gpu = &gpu_,
          .kernels = &kernels_,
          .uploads = &uploads_,
          .lt_plans = lt_plans,
          .forced = &forced_};
}

Status CudaRuntime::set_workspace(size_t bytes) {
  SLUICE_RETURN_IF_ERROR(synchronize());
  const Device device{DeviceKind::kCuda, index_};
  arena_ = Arena::over({}, device);
  SLUICE_ASSIGN_OR_RETURN(Buffer memory, cuda::allocate(bytes));
  arena_ = Arena::over(std::move(memory), device);
  return {};
}

Status CudaRuntime::enter_thread() { return to_status(cudaSetDevice(index_), "cudaSetDevice"); }

Status CudaRuntime::synchronize() {
  return to_status(cudaStreamSynchronize(static_cast<cudaStream_t>(stream_)), "the GPU's stream");
}

}  // namespace sluice
