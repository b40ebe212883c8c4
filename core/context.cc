#include "core/context.h"

#include "core/thread_errors.h"

namespace sluice {

// `threads` <= 0 means one per physical core.
Result<std::unique_ptr<CpuRuntime>> CpuRuntime::create(int threads, ImplChoices forced) {
  SLUICE_ASSIGN_OR_RETURN(CpuFeatures cpu, usable_cpu_features());
  if (threads <= 0) threads = cpu.physical_cores;
  SLUICE_ASSIGN_OR_RETURN(Arena arena, Arena::reserve());
  try {
    return std::unique_ptr<CpuRuntime>(new CpuRuntime(threads, std::move(cpu), std::move(arena), std::move(forced)));
  } catch (const std::system_error& e) {
    return no_more_threads(e);
  }
}

}  // namespace sluice
