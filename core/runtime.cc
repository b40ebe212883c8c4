#include "core/runtime.h"

#include <algorithm>
#include <charconv>

namespace sluice {

Result<Device> parse_device(const std::string& name) {
  if (name == "cpu") return Device{};
  Device gpu{DeviceKind::kCuda, 0};
  if (name == "cuda") return gpu;
  constexpr std::string_view kPrefix = "cuda:";
  if (name.starts_with(kPrefix)) {
    const char* end = name.data() + name.size();
    const auto [next, error] = std::from_chars(name.data() + kPrefix.size(), end, gpu.index);
    if (error == std::errc() && next == end && gpu.index >= 0) return gpu;
  }
  return invalid("'" + name + "' is no device", "write cpu or cuda:0; `sluice doctor` lists the GPUs");
}

void share_machine(int rank, int size, Device& device, int& threads) {
  if (device.kind == DeviceKind::kCuda) device.index += rank;
  else if (threads == 0) threads = std::max(1, detect_cpu_features().physical_cores / size);
}

Result<std::unique_ptr<Runtime>> Runtime::create(Device device, int threads, ImplChoices forced,
                                                 [[maybe_unused]] size_t workspace) {
  auto runtime = std::make_unique<Runtime>();
  if (device.kind == DeviceKind::kCpu) {
    SLUICE_ASSIGN_OR_RETURN(runtime->cpu_, CpuRuntime::create(threads, std::move(forced)));
    return runtime;
  }
#if SLUICE_HAS_CUDA
  SLUICE_ASSIGN_OR_RETURN(runtime->cuda_, CudaRuntime::create(device.index, workspace, std::move(forced)));
  return runtime;
#else
  return Status(Code::kUnsupported, "there is no GPU cuda:" + std::to_string(device.index) + " (" + detect_gpus().why_none + ")",
                "use --device cpu, or look at `sluice doctor`");
#endif
}

Context Runtime::context() {
#if SLUICE_HAS_CUDA
  if (cuda_) return cuda_->context();
#endif
  return cpu_->context();
}

int64_t Runtime::rows_of_a_step() const {
  constexpr int64_t kOnCpu = 512, kOnGpu = 8192;
  return cpu_ ? kOnCpu : kOnGpu;
}

Status Runtime::set_workspace([[maybe_unused]] size_t bytes) {
#if SLUICE_HAS_CUDA
  if (cuda_) return cuda_->set_workspace(bytes);
#endif
  return {};
}

Status Runtime::enter_thread() {
#if SLUICE_HAS_CUDA
  if (cuda_) return cuda_->enter_thread();
#endif
  return {};
}

Status Runtime::synchronize() {
#if SLUICE_HAS_CUDA
  if (cuda_) return cuda_->synchronize();
#endif
  return {};
}

}  // namespace sluice
