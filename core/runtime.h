// The runtime of a device that is named on a command line.
#pragma once

#include <memory>
#include <string>

#include "core/context.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/runtime.h"
#endif

namespace sluice {

// "cpu", "cuda:N", or "cuda", which is "cuda:0".
Result<Device> parse_device(const std::string& name);

// What rank `rank` of `size` on one machine takes of it: the GPU so many behind the first one's, or its part of the CPU's cores
// where `threads` is 0.
void share_machine(int rank, int size, Device& device, int& threads);

class Runtime {
 public:
  // `threads` as for CpuRuntime, `workspace` as for CudaRuntime; 0: its default. Fails where the GPU does not exist, with the
  // reason.
  static Result<std::unique_ptr<Runtime>> create(Device device, int threads = 0, ImplChoices forced = {}, size_t workspace = 0);

  Context context();
  // How many rows of a model keep the device busy.
  int64_t rows_of_a_step() const;
  // On a GPU: another workspace in place of the one so far, and what lies in that is lost. On the CPU it is address space enough.
  Status set_workspace(size_t bytes);
  // Before the first use from a thread other than the one that made it.
  Status enter_thread();
  // Waits for all work given to the device, and reports what went wrong in it.
  Status synchronize();

 private:
  std::unique_ptr<CpuRuntime> cpu_;
#if SLUICE_HAS_CUDA
  std::unique_ptr<CudaRuntime> cuda_;
#endif
};

}  // namespace sluice
